import { mat4, vec3 } from "wgpu-matrix";

/** A camera that looks at the middle of the surface from a point around it. */
export interface Camera {
  /** Around the vertical, in radians; 0 looks along y, from the front edge of the map. */
  readonly azimuth: number;
  /** Above the horizon, in radians. */
  readonly elevation: number;
  readonly distance: number;
}

export const initialCamera: Camera = { azimuth: -0.5, elevation: 0.84, distance: 5.5 };

const elevations = [0.06, Math.PI / 2 - 0.01] as const;
const distances = [1.6, 9] as const;
const clamp = (value: number, [low, high]: readonly [number, number]): number => Math.min(Math.max(value, low), high);

export function turned(camera: Camera, azimuth: number, elevation: number): Camera {
  return {
    ...camera,
    azimuth: camera.azimuth + azimuth,
    elevation: clamp(camera.elevation + elevation, elevations),
  };
}

export function approached(camera: Camera, factor: number): Camera {
  return { ...camera, distance: clamp(camera.distance * factor, distances) };
}

/** What the surface's middle is looked at: somewhat above the ground's base. */
const target = [0, 0, 0.26] as const;
const fieldOfView = 0.58;

export interface Projection {
  /** From the world to clip space, column by column. */
  readonly matrix: Float32Array;
  readonly eye: readonly [number, number, number];
}

/** @param aspect Width over height. Narrow pictures are seen from farther away, so that the map's width fits. */
export function projectionOf({ azimuth, elevation, distance }: Camera, aspect: number): Projection {
  const away = distance / Math.min(Math.max(aspect, 0.3), 1);
  const horizontal = away * Math.cos(elevation);
  const eye: [number, number, number] = [
    target[0] + horizontal * Math.sin(azimuth),
    target[1] - horizontal * Math.cos(azimuth),
    target[2] + away * Math.sin(elevation),
  ];
  const view = mat4.lookAt(eye, [...target], [0, 0, 1]);
  const lens = mat4.perspective(fieldOfView, aspect, 0.1, 40);
  return { matrix: mat4.multiply(lens, view) as Float32Array, eye };
}

/** A point of the world in a picture of a width and height; `depth` is from 0, near, to 1. */
export function project(
  { matrix }: Projection,
  [x, y, z]: readonly [number, number, number],
  width: number,
  height: number,
): { readonly x: number; readonly y: number; readonly depth: number } {
  // Divides by w, which is positive in front of the camera; the surface never comes behind it.
  const [cx = 0, cy = 0, cz = 0] = vec3.transformMat4([x, y, z], matrix);
  return { x: ((cx + 1) / 2) * width, y: ((1 - cy) / 2) * height, depth: cz };
}
