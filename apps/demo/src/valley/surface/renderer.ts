import type { Palette, Rgb } from "../palette";
import type { Projection } from "./camera";
import { type Block, segmentFloats, vertexFloats } from "./geometry";
import { ballShader, groundShader, lineShader, mostLevels } from "./shaders.wgsl";

/** A line on the ground. */
export interface SurfaceLine {
  /** As `segmentsOf` makes them; equal arrays are uploaded once. */
  readonly segments: Float32Array<ArrayBuffer>;
  readonly color: Rgb;
  /** In CSS pixels. */
  readonly width: number;
  /** The line is drawn up to here. */
  readonly time: number;
}

/** A ball on the ground. */
export interface Ball {
  readonly at: readonly [number, number, number];
  /** In CSS pixels. */
  readonly radius: number;
  readonly color: Rgb;
}

export interface Picture {
  readonly block: Block;
  /** Heights of the contour lines. */
  readonly levels: readonly number[];
  readonly lines: readonly SurfaceLine[];
  readonly balls: readonly Ball[];
  readonly palette: Palette;
  readonly projection: Projection;
}

/** Samples per pixel. */
const samples = 4;
const depthFormat = "depth24plus";

/** Bytes of the uniforms: `Scene`, and `Line` at the distance that dynamic offsets may have on every device. */
const sceneBytes = 64 + 16 + 16 + 5 * 16 + 16 + mostLevels * 4 + 16;
const [lineBytes, lineStride] = [32, 256];
/** Each line is drawn twice. */
const mostLines = 24;
const mostBalls = 64;
const ballFloats = 7;

/** From where the light comes: the upper left, as on maps. */
export const light = [-0.52, 0.36, 0.775] as const;

/** Draws the surface on a canvas. Nothing is drawn but by {@link draw}. */
export class SurfaceRenderer {
  readonly device: GPUDevice;
  readonly #canvas: HTMLCanvasElement;
  readonly #context: GPUCanvasContext;
  readonly #format: GPUTextureFormat;
  readonly #ground: GPURenderPipeline;
  readonly #line: GPURenderPipeline;
  readonly #hiddenLine: GPURenderPipeline;
  readonly #ball: GPURenderPipeline;
  readonly #sceneBuffer: GPUBuffer;
  readonly #lineBuffer: GPUBuffer;
  readonly #ballBuffer: GPUBuffer;
  readonly #sceneGroup: GPUBindGroup;
  readonly #lineGroup: GPUBindGroup;
  #targets: { readonly color: GPUTexture; readonly depth: GPUTexture } | undefined;
  #block: { readonly of: Block; readonly vertices: GPUBuffer; readonly indices: GPUBuffer } | undefined;
  readonly #segments = new Map<Float32Array, GPUBuffer>();

  private constructor(device: GPUDevice, canvas: HTMLCanvasElement, context: GPUCanvasContext) {
    this.device = device;
    this.#canvas = canvas;
    this.#context = context;
    this.#format = navigator.gpu.getPreferredCanvasFormat();
    context.configure({ device, format: this.#format, alphaMode: "opaque" });
    const uniform = (label: string, size: number) =>
      device.createBuffer({ label, size, usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST });
    this.#sceneBuffer = uniform("scene", sceneBytes);
    this.#lineBuffer = uniform("lines", mostLines * 2 * lineStride);
    this.#ballBuffer = device.createBuffer({
      label: "balls",
      size: mostBalls * ballFloats * 4,
      usage: GPUBufferUsage.VERTEX | GPUBufferUsage.COPY_DST,
    });
    const stages = GPUShaderStage.VERTEX | GPUShaderStage.FRAGMENT;
    const sceneLayout = device.createBindGroupLayout({ entries: [{ binding: 0, visibility: stages, buffer: {} }] });
    const lineLayout = device.createBindGroupLayout({
      entries: [{ binding: 0, visibility: stages, buffer: { hasDynamicOffset: true } }],
    });
    this.#sceneGroup = device.createBindGroup({
      layout: sceneLayout,
      entries: [{ binding: 0, resource: { buffer: this.#sceneBuffer } }],
    });
    this.#lineGroup = device.createBindGroup({
      layout: lineLayout,
      entries: [{ binding: 0, resource: { buffer: this.#lineBuffer, size: lineBytes } }],
    });
    this.#ground = this.#pipeline("ground", groundShader, [sceneLayout], {
      buffers: [
        {
          arrayStride: vertexFloats * 4,
          attributes: [
            { shaderLocation: 0, offset: 0, format: "float32x3" },
            { shaderLocation: 1, offset: 12, format: "float32x3" },
            { shaderLocation: 2, offset: 24, format: "float32" },
          ],
        },
      ],
      topology: "triangle-list",
      depthCompare: "less",
      writesDepth: true,
    });
    const lines = {
      buffers: [
        {
          arrayStride: segmentFloats * 4,
          stepMode: "instance",
          attributes: [
            { shaderLocation: 0, offset: 0, format: "float32x4" },
            { shaderLocation: 1, offset: 16, format: "float32x4" },
          ],
        },
      ],
      topology: "triangle-strip",
      writesDepth: false,
    } as const;
    const layouts = [sceneLayout, lineLayout];
    this.#line = this.#pipeline("line", lineShader, layouts, { ...lines, depthCompare: "less-equal" });
    this.#hiddenLine = this.#pipeline("hidden line", lineShader, layouts, { ...lines, depthCompare: "greater" });
    this.#ball = this.#pipeline("ball", ballShader, [sceneLayout], {
      buffers: [
        {
          arrayStride: ballFloats * 4,
          stepMode: "instance",
          attributes: [
            { shaderLocation: 0, offset: 0, format: "float32x4" },
            { shaderLocation: 1, offset: 16, format: "float32x3" },
          ],
        },
      ],
      topology: "triangle-strip",
      depthCompare: "less",
      writesDepth: true,
    });
  }

  /** @throws Error if the browser has no WebGPU, or gives no device. */
  static async open(canvas: HTMLCanvasElement): Promise<SurfaceRenderer> {
    const adapter = await navigator.gpu?.requestAdapter();
    const context = canvas.getContext("webgpu");
    if (adapter === null || adapter === undefined || context === null) throw new Error("This browser has no WebGPU.");
    return new SurfaceRenderer(await adapter.requestDevice({ label: "surface" }), canvas, context);
  }

  /**
   * Draws a picture.
   *
   * @param width In pixels of the device.
   * @param pixelRatio Pixels of the device per CSS pixel.
   */
  draw(picture: Picture, width: number, height: number, pixelRatio: number): void {
    const { device } = this;
    const targets = this.#resize(width, height);
    this.#writeScene(picture, width, height, pixelRatio);
    const block = this.#upload(picture.block);
    const lines = picture.lines.filter(({ segments }) => segments.length > 0).slice(0, mostLines);
    this.#writeLines(lines, pixelRatio);
    const balls = picture.balls.slice(0, mostBalls);
    const [r, g, b] = picture.palette.background;
    const encoder = device.createCommandEncoder({ label: "surface" });
    const pass = encoder.beginRenderPass({
      colorAttachments: [
        {
          view: targets.color.createView(),
          resolveTarget: this.#context.getCurrentTexture().createView(),
          clearValue: [r, g, b, 1],
          loadOp: "clear",
          storeOp: "discard",
        },
      ],
      depthStencilAttachment: {
        view: targets.depth.createView(),
        depthClearValue: 1,
        depthLoadOp: "clear",
        depthStoreOp: "discard",
      },
    });
    pass.setBindGroup(0, this.#sceneGroup);
    pass.setPipeline(this.#ground);
    pass.setVertexBuffer(0, block.vertices);
    pass.setIndexBuffer(block.indices, "uint32");
    pass.drawIndexed(picture.block.indices.length);
    for (const [index, { segments }] of lines.entries()) {
      pass.setVertexBuffer(0, this.#segmentBuffer(segments));
      for (const [variant, pipeline] of [this.#hiddenLine, this.#line].entries()) {
        pass.setPipeline(pipeline);
        pass.setBindGroup(1, this.#lineGroup, [(2 * index + variant) * lineStride]);
        pass.draw(4, segments.length / segmentFloats);
      }
    }
    if (balls.length > 0) {
      device.queue.writeBuffer(this.#ballBuffer, 0, ballData(balls, pixelRatio));
      pass.setPipeline(this.#ball);
      pass.setVertexBuffer(0, this.#ballBuffer);
      pass.draw(4, balls.length);
    }
    pass.end();
    device.queue.submit([encoder.finish()]);
    this.#forget(lines);
  }

  dispose(): void {
    this.#context.unconfigure();
    this.device.destroy();
  }

  #pipeline(
    label: string,
    code: string,
    layouts: readonly GPUBindGroupLayout[],
    {
      buffers,
      topology,
      depthCompare,
      writesDepth,
    }: {
      readonly buffers: readonly GPUVertexBufferLayout[];
      readonly topology: GPUPrimitiveTopology;
      readonly depthCompare: GPUCompareFunction;
      readonly writesDepth: boolean;
    },
  ): GPURenderPipeline {
    const { device } = this;
    const module = device.createShaderModule({ label, code });
    const over = { srcFactor: "one", dstFactor: "one-minus-src-alpha" } as const;
    return device.createRenderPipeline({
      label,
      layout: device.createPipelineLayout({ bindGroupLayouts: [...layouts] }),
      vertex: { module, buffers: [...buffers] },
      fragment: { module, targets: [{ format: this.#format, blend: { color: over, alpha: over } }] },
      primitive: { topology },
      depthStencil: { format: depthFormat, depthCompare, depthWriteEnabled: writesDepth },
      multisample: { count: samples },
    });
  }

  #resize(width: number, height: number): { readonly color: GPUTexture; readonly depth: GPUTexture } {
    if (this.#targets?.color.width === width && this.#targets.color.height === height) return this.#targets;
    this.#targets?.color.destroy();
    this.#targets?.depth.destroy();
    this.#canvas.width = width;
    this.#canvas.height = height;
    const texture = (format: GPUTextureFormat) =>
      this.device.createTexture({
        size: [width, height],
        format,
        sampleCount: samples,
        usage: GPUTextureUsage.RENDER_ATTACHMENT,
      });
    this.#targets = { color: texture(this.#format), depth: texture(depthFormat) };
    return this.#targets;
  }

  #writeScene({ palette, levels, projection }: Picture, width: number, height: number, pixelRatio: number): void {
    const shown = levels.slice(-mostLevels);
    const data = new Float32Array(sceneBytes / 4);
    data.set(projection.matrix, 0);
    data.set(projection.eye, 16);
    data.set(light, 20);
    for (const [index, color] of palette.ground.entries()) data.set(color, 24 + 4 * index);
    data.set(palette.line, 44);
    data.set(shown, 48);
    new Uint32Array(data.buffer)[48 + mostLevels] = shown.length;
    data.set([width, height, pixelRatio], 49 + mostLevels);
    this.device.queue.writeBuffer(this.#sceneBuffer, 0, data);
  }

  #writeLines(lines: readonly SurfaceLine[], pixelRatio: number): void {
    const data = new Float32Array((lines.length * 2 * lineStride) / 4);
    for (const [index, { color, width, time }] of lines.entries()) {
      // Where the ground hides it, then where it is seen.
      for (const [variant, opacity] of [0.22, 1].entries()) {
        data.set([...color, 1, time, (width * pixelRatio) / 2, opacity], ((2 * index + variant) * lineStride) / 4);
      }
    }
    if (data.length > 0) this.device.queue.writeBuffer(this.#lineBuffer, 0, data);
  }

  #upload(block: Block): { readonly vertices: GPUBuffer; readonly indices: GPUBuffer } {
    if (this.#block?.of === block) return this.#block;
    this.#block?.vertices.destroy();
    this.#block?.indices.destroy();
    this.#block = {
      of: block,
      vertices: this.#filled("ground vertices", block.vertices, GPUBufferUsage.VERTEX),
      indices: this.#filled("ground indices", block.indices, GPUBufferUsage.INDEX),
    };
    return this.#block;
  }

  #segmentBuffer(segments: Float32Array<ArrayBuffer>): GPUBuffer {
    const buffer = this.#segments.get(segments) ?? this.#filled("segments", segments, GPUBufferUsage.VERTEX);
    this.#segments.set(segments, buffer);
    return buffer;
  }

  #filled(label: string, data: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>, usage: number): GPUBuffer {
    // Buffers of no bytes cannot be bound.
    const size = Math.max(data.byteLength, 4);
    const buffer = this.device.createBuffer({ label, size, usage: usage | GPUBufferUsage.COPY_DST });
    this.device.queue.writeBuffer(buffer, 0, data);
    return buffer;
  }

  /** Frees what lines of earlier pictures took. */
  #forget(lines: readonly SurfaceLine[]): void {
    const used = new Set(lines.map(({ segments }) => segments as Float32Array));
    for (const [segments, buffer] of this.#segments) {
      if (used.has(segments)) continue;
      buffer.destroy();
      this.#segments.delete(segments);
    }
  }
}

function ballData(balls: readonly Ball[], pixelRatio: number): Float32Array<ArrayBuffer> {
  return Float32Array.from(balls.flatMap(({ at, radius, color }) => [...at, radius * pixelRatio, ...color]));
}
