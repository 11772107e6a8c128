import { formatColor, groundColor, mix, type Rgb } from "../palette";
import type { Mesh } from "../terrain/terrain";
import type { AxisText } from "./axis-texts";
import { project } from "./camera";
import { base, relief, segmentFloats } from "./geometry";
import { light, type Picture } from "./renderer";

/** Every so many nodes of the mesh are the corners of a face: an SVG with all of them is too large to open. */
const coarse = 3;

type World = readonly [number, number, number];

/** What is painted, with its distance: far things first. */
interface Stroke {
  readonly depth: number;
  readonly svg: string;
}

/**
 * The surface as an SVG document: faces of the ground from far to near, with the contour lines that cross them, the paths
 * among them, and the walls that face the camera.
 */
export function surfaceSvg(
  picture: Picture,
  mesh: Mesh,
  texts: readonly AxisText[],
  width: number,
  height: number,
): string {
  const { palette, projection, lines, balls } = picture;
  const place = (at: World) => project(projection, at, width, height);
  const write = (at: World): string => {
    const { x, y } = place(at);
    return `${x.toFixed(1)} ${y.toFixed(1)}`;
  };
  const strokes: Stroke[] = facesOf(mesh).map((corners) => {
    const middle = average(corners.map(({ at }) => at));
    const color = lit(groundColor(palette, average(corners.map(({ at }) => at))[2] / relief), normalOf(corners));
    const fill = formatColor(color);
    const contour = crossings(corners, picture.levels)
      .map(([a, b]) => `M${write(a)}L${write(b)}`)
      .join("");
    const ink = formatColor(mix(color, palette.line, 0.55));
    return {
      depth: place(middle).depth,
      // The seam between faces is closed by a line of their colour.
      svg:
        `<path d="M${corners.map(({ at }) => write(at)).join("L")}Z" fill="${fill}" stroke="${fill}" stroke-width="0.6"/>` +
        (contour === "" ? "" : `<path d="${contour}" stroke="${ink}" stroke-width="0.9" fill="none"/>`),
    };
  });
  for (const { segments, color, width: strokeWidth, time } of lines) {
    for (let start = 0; start < segments.length; start += segmentFloats) {
      const [ax, ay, az, ta, bx, by, bz] = segments.subarray(start, start + segmentFloats) as unknown as number[];
      if ((ta as number) >= time) continue;
      const [a, b] = [[ax, ay, az] as unknown as World, [bx, by, bz] as unknown as World];
      strokes.push({
        // A line lies on the faces around it, not among them.
        depth: place(average([a, b])).depth - lineLift,
        svg: `<path d="M${write(a)}L${write(b)}" stroke="${formatColor(color)}" stroke-width="${strokeWidth}" stroke-linecap="round"/>`,
      });
    }
  }
  for (const { at, radius, color } of balls) {
    const { x, y, depth } = place(at);
    strokes.push({
      depth: depth - 2 * lineLift,
      svg: `<circle cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="${radius}" fill="${formatColor(color)}" stroke="${formatColor(mix(color, [0, 0, 0], 0.45))}"/>`,
    });
  }
  strokes.sort((a, b) => b.depth - a.depth);
  const walls = wallsFacing(mesh, projection.eye).map(({ outline, normal }) => {
    const fill = formatColor(lit(mix(groundColor(palette, 0.35), [0, 0, 0], 0.1), normal));
    return `<path d="M${outline.map(write).join("L")}Z" fill="${fill}"/>`;
  });
  const labels = texts.map(({ at, text, isName }) => {
    const { x, y } = place(at);
    const style = isName ? ` font-style="italic" fill="${formatColor(palette.text)}"` : "";
    return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" dy="0.35em"${style}>${text}</text>`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}">`,
    "<title>Surface with the paths of optimizers</title>",
    `<rect width="${width}" height="${height}" fill="${formatColor(palette.background)}"/>`,
    `<g stroke-linejoin="round">${strokes.map(({ svg }) => svg).join("\n")}</g>`,
    ...walls,
    `<g font-family="system-ui, sans-serif" font-size="12" text-anchor="middle" fill="${formatColor(palette.muted)}">${labels.join("")}</g>`,
    "</svg>",
  ].join("\n");
}

/** In depth, about half a face. */
const lineLift = 0.0012;

interface Corner {
  readonly at: World;
  readonly height: number;
}

/** The faces of the ground whose corners all have a height. */
function facesOf({ nodes, values }: Mesh): readonly (readonly Corner[])[] {
  const places = Array.from({ length: Math.floor((nodes - 1) / coarse) + 1 }, (_, index) => index * coarse);
  const corner = (column: number, row: number): Corner => {
    const height = values[(row * nodes + column) * 3] as number;
    return { at: [(2 * column) / (nodes - 1) - 1, (2 * row) / (nodes - 1) - 1, height * relief], height };
  };
  return places.slice(1).flatMap((row) =>
    places.slice(1).flatMap((column) => {
      const [left, below] = [column - coarse, row - coarse];
      const corners = [corner(left, below), corner(column, below), corner(column, row), corner(left, row)];
      return corners.some(({ height }) => Number.isNaN(height)) ? [] : [corners];
    }),
  );
}

function average(points: readonly World[]): World {
  const sum = (axis: 0 | 1 | 2) => points.reduce((total, point) => total + point[axis], 0) / points.length;
  return [sum(0), sum(1), sum(2)];
}

/** Upwards, from the diagonals. */
function normalOf(corners: readonly Corner[]): World {
  const [a, b, c, d] = corners.map(({ at }) => at) as [World, World, World, World];
  const [p, q] = [
    c.map((value, axis) => value - (a[axis] as number)),
    d.map((value, axis) => value - (b[axis] as number)),
  ];
  const [px, py, pz] = p as [number, number, number];
  const [qx, qy, qz] = q as [number, number, number];
  const normal = [py * qz - pz * qy, pz * qx - px * qz, px * qy - py * qx] as const;
  const length = Math.hypot(...normal);
  return [normal[0] / length, normal[1] / length, normal[2] / length];
}

/** As the shader lights it, without gloss. */
function lit(color: Rgb, normal: World): Rgb {
  const diffuse = Math.max(normal[0] * light[0] + normal[1] * light[1] + normal[2] * light[2], 0);
  const brightness = 0.4 + 0.24 * (0.5 + 0.5 * normal[2]) + 0.46 * diffuse;
  return [color[0] * brightness, color[1] * brightness, color[2] * brightness];
}

/** Where the levels cross a face: from side to side, two by two. */
function crossings(corners: readonly Corner[], levels: readonly number[]): readonly (readonly [World, World])[] {
  const heights = corners.map(({ height }) => height);
  const [low, high] = [Math.min(...heights), Math.max(...heights)];
  return levels
    .filter((level) => level > low && level <= high)
    .flatMap((level) => {
      const points = corners.flatMap((from, index): World[] => {
        const to = corners[(index + 1) % corners.length] as Corner;
        if (from.height < level === to.height < level) return [];
        const share = (level - from.height) / (to.height - from.height);
        return [
          [0, 1, 2].map(
            (axis) => (from.at[axis] as number) + share * ((to.at[axis] as number) - (from.at[axis] as number)),
          ) as unknown as World,
        ];
      });
      const pairs: (readonly [World, World])[] = [];
      for (let index = 0; index + 1 < points.length; index += 2)
        pairs.push([points[index] as World, points[index + 1] as World]);
      return pairs;
    });
}

/** The outlines of the walls that are seen. */
function wallsFacing(
  { nodes, values }: Mesh,
  eye: World,
): readonly { readonly outline: readonly World[]; readonly normal: World }[] {
  const along = Array.from({ length: nodes }, (_, index) => index);
  const place = (index: number): number => (2 * index) / (nodes - 1) - 1;
  const top = (column: number, row: number): World => {
    const height = values[(row * nodes + column) * 3] as number;
    return [place(column), place(row), Number.isNaN(height) ? 0 : height * relief];
  };
  const last = nodes - 1;
  const sides: readonly { readonly normal: World; readonly edge: readonly World[] }[] = [
    { normal: [0, -1, 0], edge: along.map((index) => top(index, 0)) },
    { normal: [1, 0, 0], edge: along.map((index) => top(last, index)) },
    { normal: [0, 1, 0], edge: along.map((index) => top(last - index, last)) },
    { normal: [-1, 0, 0], edge: along.map((index) => top(0, last - index)) },
  ];
  return sides
    .filter(({ normal }) => normal[0] * eye[0] + normal[1] * eye[1] > 1)
    .map(({ normal, edge }) => {
      const [first, end] = [edge[0] as World, edge.at(-1) as World];
      return { normal, outline: [[first[0], first[1], base], ...edge, [end[0], end[1], base]] };
    });
}
