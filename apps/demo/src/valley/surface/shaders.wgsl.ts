/** The most contour lines that the ground shows. */
export const mostLevels = 32;

/** What all shaders know. `levels` holds four heights per element. */
const scene = `
struct Scene {
  projection: mat4x4f,
  eye: vec4f,
  light: vec4f,
  ground: array<vec4f, 5>,
  line: vec4f,
  levels: array<vec4f, ${mostLevels / 4}>,
  level_count: u32,
  width: f32,
  height: f32,
  pixel_ratio: f32,
}
@group(0) @binding(0) var<uniform> scene: Scene;

fn lit(color: vec3f, normal: vec3f, at: vec3f) -> vec3f {
  let diffuse = max(dot(normal, scene.light.xyz), 0.0);
  let sky = 0.5 + 0.5 * normal.z;
  let half_way = normalize(scene.light.xyz + normalize(scene.eye.xyz - at));
  let gloss = 0.05 * pow(max(dot(normal, half_way), 0.0), 24.0);
  return color * (0.4 + 0.24 * sky + 0.46 * diffuse) + gloss;
}
`;

/** The ground and its walls: colours by height, contour lines of constant width, light from the upper left. */
export const groundShader = `${scene}
struct Vertex {
  @builtin(position) position: vec4f,
  @location(0) normal: vec3f,
  @location(1) height: f32,
  @location(2) at: vec3f,
}

@vertex fn vertex(@location(0) at: vec3f, @location(1) normal: vec3f, @location(2) height: f32) -> Vertex {
  return Vertex(scene.projection * vec4f(at, 1.0), normal, height, at);
}

fn ground_color(height: f32) -> vec3f {
  let place = clamp(height, 0.0, 1.0) * 4.0;
  let index = min(u32(place), 3u);
  return mix(scene.ground[index].rgb, scene.ground[index + 1u].rgb, place - f32(index));
}

@fragment fn fragment(in: Vertex) -> @location(0) vec4f {
  let normal = normalize(in.normal);
  let is_wall = abs(normal.z) < 0.001;
  // How much the height changes from one pixel to the next.
  let step = max(fwidth(in.height), 1e-5);
  var nearest = 1.0;
  for (var index = 0u; index < scene.level_count; index++) {
    nearest = min(nearest, abs(in.height - scene.levels[index / 4u][index % 4u]));
  }
  let half_width = 0.55 * scene.pixel_ratio;
  // Lines that would run together fade.
  let ink = (1.0 - smoothstep(half_width - 0.5, half_width + 0.7, nearest / step)) * min(1.0, 0.02 / step);
  let color = mix(ground_color(in.height), scene.line.rgb, select(0.55, 0.16, is_wall) * ink);
  return vec4f(lit(select(color, color * 0.9, is_wall), normal, in.at), 1.0);
}
`;

/**
 * A line as capsules, one instance per segment, in pixels: as wide near as far. The part behind the time is left out.
 * Drawn twice: where it is seen, and faintly where the ground is in front of it.
 */
export const lineShader = `${scene}
struct Line {
  color: vec4f,
  time: f32,
  half_width: f32,
  opacity: f32,
}
@group(1) @binding(0) var<uniform> line: Line;

struct Vertex {
  @builtin(position) position: vec4f,
  // Along and across the segment in pixels, and its length.
  @location(0) place: vec2f,
  @location(1) @interpolate(flat) length: f32,
}

const lift = 0.008;

@vertex fn vertex(@builtin(vertex_index) corner: u32, @location(0) first: vec4f, @location(1) second: vec4f) -> Vertex {
  var out: Vertex;
  let share = clamp((line.time - first.w) / max(second.w - first.w, 1e-9), 0.0, 1.0);
  let a = scene.projection * vec4f(first.xyz + vec3f(0, 0, lift), 1.0);
  let b = scene.projection * vec4f(mix(first.xyz, second.xyz, share) + vec3f(0, 0, lift), 1.0);
  let size = vec2f(scene.width, scene.height) * 0.5;
  let start = a.xy / a.w * size;
  let end = b.xy / b.w * size;
  let length = distance(start, end);
  let along = select(vec2f(1.0, 0.0), (end - start) / max(length, 1e-6), length > 1e-6);
  let across = vec2f(-along.y, along.x);
  let reach = line.half_width + 1.0;
  let is_end = corner % 2u == 1u;
  let side = select(-1.0, 1.0, corner >= 2u);
  out.place = vec2f(select(-reach, length + reach, is_end), side * reach);
  out.length = length;
  let pixel = start + along * out.place.x + across * out.place.y;
  let depth = select(a.z / a.w, b.z / b.w, is_end);
  // Segments that time has not come to are nowhere.
  let is_future = line.time <= first.w;
  out.position = select(vec4f(pixel / size, depth, 1.0), vec4f(2.0, 2.0, 2.0, 1.0), is_future);
  return out;
}

@fragment fn fragment(in: Vertex) -> @location(0) vec4f {
  let beyond = in.place.x - clamp(in.place.x, 0.0, in.length);
  let away = length(vec2f(beyond, in.place.y));
  let cover = 1.0 - smoothstep(line.half_width - 0.5, line.half_width + 0.5, away);
  if (cover <= 0.0) { discard; }
  let alpha = cover * line.opacity;
  return vec4f(line.color.rgb * alpha, alpha);
}
`;

/** Balls: runners, minima and the start, as quads that face the camera, shaded as spheres. */
export const ballShader = `${scene}
struct Vertex {
  @builtin(position) position: vec4f,
  @location(0) place: vec2f,
  @location(1) @interpolate(flat) color: vec3f,
}

@vertex fn vertex(
  @builtin(vertex_index) corner: u32,
  @location(0) ball: vec4f,
  @location(1) color: vec3f,
) -> Vertex {
  let place = vec2f(select(-1.0, 1.0, corner % 2u == 1u), select(-1.0, 1.0, corner >= 2u));
  // The radius is in pixels; the ball rests on the ground.
  let middle = scene.projection * vec4f(ball.xyz + vec3f(0, 0, 0.012), 1.0);
  let offset = place * ball.w * 2.0 / vec2f(scene.width, scene.height);
  let ndc = middle.xyz / middle.w;
  return Vertex(vec4f(ndc.xy + offset, ndc.z - 0.002, 1.0), place, color);
}

@fragment fn fragment(in: Vertex) -> @location(0) vec4f {
  let squared = dot(in.place, in.place);
  let edge = fwidth(squared);
  let cover = 1.0 - smoothstep(1.0 - edge, 1.0, squared);
  if (cover <= 0.0) { discard; }
  let depth = sqrt(max(1.0 - squared, 0.0));
  let light = max(dot(vec3f(in.place, depth), normalize(vec3f(-0.5, 0.6, 0.7))), 0.0);
  let rim = smoothstep(0.62, 0.9, squared);
  let color = mix(in.color * (0.72 + 0.36 * light) + 0.12 * pow(light, 12.0), in.color * 0.55, rim * 0.6);
  return vec4f(color * cover, cover);
}
`;
