import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { compileValue } from "../formula/evaluate";
import { parseFormula } from "../formula/parse";
import type { Domain } from "../terrain/domain";
import { makeScale } from "../terrain/height-scale";
import { computeTerrain } from "../terrain/terrain";
import { axisTexts } from "./axis-texts";
import { approached, initialCamera, project, projectionOf, turned } from "./camera";
import { base, insidePart, makeBlock, onGround, relief, segmentFloats, segmentsOf, vertexFloats } from "./geometry";
import { surfaceSvg } from "./surface-svg";

const domain: Domain = { left: -2, right: 2, bottom: -1, top: 3 };
const f = (x: number, y: number): number => x * x + y * y;
const site = { domain, scale: makeScale(Float64Array.of(0, 6.5, 13)), f };

describe("the camera", () => {
  it("sees its target in the middle, left on the left, and up above", () => {
    const camera = { azimuth: 0, elevation: 0.5, distance: 5 };
    const see = (x: number, y: number, z: number) => project(projectionOf(camera, 1), [x, y, z], 200, 200);
    expect(see(0, 0, 0.26).x).toBeCloseTo(100, 4);
    expect(see(0, 0, 0.26).y).toBeCloseTo(100, 4);
    expect(see(-1, 0, 0).x).toBeLessThan(100);
    expect(see(0, 0, 1).y).toBeLessThan(see(0, 0, 0).y);
    expect(see(0, -1, 0).depth).toBeLessThan(see(0, 1, 0).depth);
  });

  it("keeps the whole block in the picture from everywhere, wide or narrow", () => {
    fc.assert(
      fc.property(
        fc.double({ min: -4, max: 4, noNaN: true }),
        fc.double({ min: 0.6, max: 2, noNaN: true }),
        (azimuth, aspect) => {
          const projection = projectionOf({ ...initialCamera, azimuth }, aspect);
          for (const x of [-1, 1]) {
            for (const y of [-1, 1]) {
              for (const z of [base, relief]) {
                const place = project(projection, [x, y, z], 100, 100);
                expect(Math.min(place.x, place.y, 100 - place.x, 100 - place.y)).toBeGreaterThan(0);
              }
            }
          }
        },
      ),
    );
  });

  it("stays above the ground, and neither enters the block nor loses it", () => {
    expect(turned(initialCamera, 0, -9).elevation).toBeGreaterThan(0);
    expect(turned(initialCamera, 0, 9).elevation).toBeLessThan(Math.PI / 2);
    expect(approached(initialCamera, 1e-6).distance).toBeGreaterThan(1);
    expect(approached(initialCamera, 1e6).distance).toBeLessThan(20);
  });
});

describe("the block", () => {
  const { mesh } = computeTerrain(parseFormula("x^2 + 3 y"), domain, "even");
  const { vertices, indices } = makeBlock(mesh);

  it("has normals that are perpendicular to its triangles, and triangles that face outwards", () => {
    const at = (index: number) =>
      [...vertices.subarray(index * vertexFloats, index * vertexFloats + 3)] as [number, number, number];
    const normal = (index: number) =>
      [...vertices.subarray(index * vertexFloats + 3, index * vertexFloats + 6)] as [number, number, number];
    for (let first = 0; first < indices.length; first += 3 * 97) {
      const [a, b, c] = [...indices.subarray(first, first + 3)].map(at) as [
        [number, number, number],
        [number, number, number],
        [number, number, number],
      ];
      const [p, q] = [b.map((own, axis) => own - a[axis]!), c.map((own, axis) => own - a[axis]!)] as [
        number[],
        number[],
      ];
      const cross = [p[1]! * q[2]! - p[2]! * q[1]!, p[2]! * q[0]! - p[0]! * q[2]!, p[0]! * q[1]! - p[1]! * q[0]!];
      const length = Math.hypot(...cross);
      const own = normal(indices[first]!);
      const cosine = cross.reduce((sum, value, axis) => sum + (value * own[axis]!) / length, 0);
      // The triangle is flat, the ground is not: its normals differ by up to a cell's worth of bend.
      expect(cosine).toBeGreaterThan(0.999);
    }
  });

  it("has a hole where the formula has no value", () => {
    const holed = makeBlock(computeTerrain(parseFormula("log(x)"), domain).mesh);
    expect(holed.indices.length).toBeLessThan(indices.length * 0.55);
    expect(holed.vertices.every(Number.isFinite)).toBe(true);
  });
});

describe("lines on the ground", () => {
  it("follow it from point to point, and times count the points", () => {
    const segments = segmentsOf(
      [
        { x: -1, y: 0 },
        { x: 1, y: 0 },
        { x: 1, y: 2 },
      ],
      site,
    );
    expect(segments.length / segmentFloats).toBeGreaterThan(40);
    expect(segments[3]).toBe(0);
    expect(segments.at(-1)).toBe(2);
    for (let at = 0; at < segments.length; at += 4) {
      const [u, v, z] = segments.subarray(at, at + 3) as unknown as [number, number, number];
      const point = { x: 2 * u, y: 1 + 2 * v };
      expect(z).toBeCloseTo(onGround(site, point)[2], 5);
    }
    // Every piece begins where the one before ended.
    for (let at = segmentFloats; at < segments.length; at += segmentFloats) {
      expect([...segments.subarray(at, at + 4)]).toEqual([...segments.subarray(at - 4, at)]);
    }
  });

  it("are cut at the border", () => {
    expect(insidePart({ x: 0, y: 0 }, { x: 4, y: 0 }, domain)).toEqual([0, 0.5]);
    expect(insidePart({ x: -4, y: 1 }, { x: 4, y: 1 }, domain)).toEqual([0.25, 0.75]);
    expect(insidePart({ x: 3, y: 0 }, { x: 3, y: 2 }, domain)).toBeUndefined();
    expect(insidePart({ x: 0, y: 4 }, { x: 1, y: 4 }, domain)).toBeUndefined();
    expect(
      segmentsOf(
        [
          { x: 5, y: 5 },
          { x: 6, y: 6 },
        ],
        site,
      ),
    ).toHaveLength(0);
    expect(
      segmentsOf(
        [
          { x: 0, y: 0 },
          { x: Number.NaN, y: 0 },
        ],
        site,
      ),
    ).toHaveLength(0);
  });
});

describe("the surface as a file", () => {
  const formula = parseFormula("x^2 + y^2");
  const terrain = computeTerrain(formula, domain, "even");
  const color = [0.5, 0.5, 0.5] as const;
  const palette = {
    ground: [color, color, color, color, color],
    line: color,
    water: color,
    text: color,
    muted: color,
    background: [1, 1, 1],
    series: [[1, 0, 0]],
  } as const;
  const projection = projectionOf(initialCamera, 1);
  const path = segmentsOf(
    [
      { x: -1, y: 0 },
      { x: 1, y: 0 },
    ],
    { domain, scale: terrain.scale, f: compileValue(formula) },
  );
  const svg = surfaceSvg(
    {
      block: makeBlock(terrain.mesh),
      levels: terrain.contours.map(({ height }) => height),
      lines: [{ segments: path, color: [1, 0, 0], width: 3, time: 0.5 }],
      balls: [{ at: [0, 0, 0], radius: 5, color: [1, 0, 0] }],
      palette,
      projection,
    },
    terrain.mesh,
    axisTexts(domain, projection.eye),
    400,
    400,
  );

  it("has all faces, the path up to the time, and two walls", () => {
    expect(svg.match(/stroke-width="0.6"/g)).toHaveLength(64 * 64);
    const pieces = svg.match(/stroke="#ff0000"/g)!;
    expect(pieces.length).toBeGreaterThan(0);
    expect(pieces.length).toBeLessThan((0.55 * path.length) / segmentFloats);
    expect(svg.match(/<circle/g)).toHaveLength(1);
    expect(svg).not.toContain("NaN");
  });

  it("names the axes and their ticks", () => {
    expect(svg).toContain(">x</text>");
    expect(svg).toContain(">−2</text>");
  });
});
