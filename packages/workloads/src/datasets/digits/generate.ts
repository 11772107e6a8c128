import { type Glyph, glyphs, type Point } from "./glyphs";
import { type IntegerRandom, integerRandom } from "./random";
import { type Canvas, drawChain, flatten } from "./render";

/** Width and height of a generated image in pixels. */
export const digitSize = 16;

/** What {@link generateDigits} draws. */
export interface GenerateOptions {
  /** Number of images. */
  readonly count: number;
  /** Any whole number; the same seed gives the same bytes on every platform. Default 42. */
  readonly seed?: number | undefined;
}

/** Generated images and their classes. */
export interface GeneratedDigits {
  /** Grey values 0 to 255, `[count, 16, 16, 1]` in row-major order. */
  readonly images: Uint8Array;
  /** The digit shown, 0 to 9: image i shows i modulo 10, so that every run of ten images has each class once. */
  readonly labels: Uint8Array;
}

/** Ranges from which the distortion of a picture is drawn; lengths in pixels, the rest without unit. */
const distortion = {
  /** Furthest move of a control point, as a part of the glyph's box. */
  jitter: 0.06,
  width: [7, 10.5],
  height: [9, 12.5],
  /** Tangent of half the angle of rotation: 0.11 is 12.5 degrees. */
  halfAngle: 0.11,
  slant: 0.25,
  shift: 1.7,
  radius: [0.45, 1],
  ink: [0.65, 1],
  clutterStrokes: 2,
  clutterInk: [0.25, 0.65],
  background: [0, 0.25],
  /** Largest difference of the background's brightness between two opposite edges. */
  gradient: 0.25,
  noise: 0.06,
} as const;

/**
 * Draws digits: a pen stroke through jittered control points, turned, slanted, stretched and moved, with stray strokes, an
 * uneven background and pixel noise. The pictures come from whole-number arithmetic and from `+ - * /` and square roots
 * of 64-bit numbers, all of which IEEE 754 fixes to the bit: no platform's sine or logarithm takes part.
 *
 * Image i depends on the seed and on i alone, not on how many images are drawn.
 */
export function generateDigits({ count, seed = 42 }: GenerateOptions): GeneratedDigits {
  const pixels = digitSize * digitSize;
  const images = new Uint8Array(count * pixels);
  const labels = new Uint8Array(count);
  const canvas: Canvas = { size: digitSize, pixels: new Float64Array(pixels) };
  for (let index = 0; index < count; index++) {
    const random = integerRandom(seed, index);
    const label = index % 10;
    labels[index] = label;
    drawPicture(canvas, label, random);
    develop(canvas, random, images.subarray(index * pixels, (index + 1) * pixels));
  }
  return { images, labels };
}

/** Draws the strokes of one picture on an empty canvas. */
function drawPicture(canvas: Canvas, label: number, random: IntegerRandom): void {
  canvas.pixels.fill(0);
  const variants = glyphs[label] as readonly Glyph[];
  const glyph = variants[random.below(variants.length)] as Glyph;
  const place = randomPlacement(random);
  const pen = { radius: random.uniform(...distortion.radius), ink: random.uniform(...distortion.ink) };
  for (const stroke of glyph) {
    const points = stroke.points.map(([x, y]) => place([x + jitter(random), y + jitter(random)]));
    drawChain(canvas, flatten({ kind: stroke.kind, points }), pen);
  }
  const strays = random.below(distortion.clutterStrokes + 1);
  for (let stray = 0; stray < strays; stray++) drawStray(canvas, random);
}

function jitter(random: IntegerRandom): number {
  return random.uniform(-distortion.jitter, distortion.jitter);
}

/** A random affine map from the glyph's box to the canvas. */
function randomPlacement(random: IntegerRandom): (point: Point) => Point {
  const width = random.uniform(...distortion.width);
  const height = random.uniform(...distortion.height);
  const slant = random.uniform(-distortion.slant, distortion.slant);
  // Cosine and sine of an angle as rational functions of the tangent of its half.
  const t = random.uniform(-distortion.halfAngle, distortion.halfAngle);
  const cosine = (1 - t * t) / (1 + t * t);
  const sine = (2 * t) / (1 + t * t);
  const middleX = digitSize / 2 + random.uniform(-distortion.shift, distortion.shift);
  const middleY = digitSize / 2 + random.uniform(-distortion.shift, distortion.shift);
  return ([x, y]) => {
    const [u, v] = [(x - 0.5) * width - (y - 0.5) * height * slant, (y - 0.5) * height];
    return [middleX + cosine * u - sine * v, middleY + sine * u + cosine * v];
  };
}

/** Draws a short stroke that has nothing to do with the digit. */
function drawStray(canvas: Canvas, random: IntegerRandom): void {
  const x = random.uniform(0, digitSize);
  const y = random.uniform(0, digitSize);
  const end: Point = [x + random.uniform(-4, 4), y + random.uniform(-4, 4)];
  const pen = { radius: random.uniform(0.3, 0.7), ink: random.uniform(...distortion.clutterInk) };
  drawChain(canvas, [[x, y], end], pen);
}

/** Lays the drawing over an uneven background, adds noise, and writes it as bytes. */
function develop({ size, pixels }: Canvas, random: IntegerRandom, image: Uint8Array): void {
  const base = random.uniform(...distortion.background);
  const slopeX = random.uniform(-distortion.gradient, distortion.gradient) / size;
  const slopeY = random.uniform(-distortion.gradient, distortion.gradient) / size;
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) {
      const position = row * size + column;
      const background = Math.max(0, base + slopeX * (column - size / 2) + slopeY * (row - size / 2));
      const ink = pixels[position] as number;
      const value = background + (1 - background) * ink + distortion.noise * random.bell();
      image[position] = Math.floor(Math.min(1, Math.max(0, value)) * 255 + 0.5);
    }
  }
}
