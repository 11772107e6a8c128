import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import type { KernelProblem } from "../cases/kernels";
import { type TrainingProblem, withChannelsFirst } from "../cases/training";
import type { Engine, KernelRun, Training } from "../engine";
import { type HostTensor, type HostTensors, sizeOf, transpose } from "../tensors";
import script from "./pytorch.py";

type Answer = Readonly<Record<string, unknown>>;

/**
 * PyTorch in eager mode, float32 without TF32, on CUDA if it finds a device, in a Python process of its own. It keeps its own time: a
 * round's milliseconds contain no conversation between processes.
 */
export async function create({ python }: { readonly python: string }): Promise<Engine> {
  const conversation = new Conversation(python);
  const { version, device } = await conversation.answer();
  return {
    name: "pytorch",
    version: `${version} (${device})`,
    train: (problem) => train(conversation, withChannelsFirst(problem)),
    kernel: (problem) => runKernel(conversation, problem),
  };
}

/** Requests and answers over the pipes of a Python process. */
class Conversation {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #chunks: Buffer[] = [];
  #bytes = 0;
  #errors = "";
  #ended: Error | undefined;
  #wake: () => void = () => undefined;

  constructor(python: string) {
    this.#child = spawn(python, ["-c", script]);
    const end = (reason: string) => {
      const last = this.#errors.trim().split("\n").at(-1) ?? "";
      this.#ended = new Error(`PyTorch ${reason}${last === "" ? "" : `: ${last}`}`);
      this.#wake();
    };
    this.#child.on("error", ({ message }) => end(`could not be started (${message})`));
    this.#child.on("exit", (code) => end(`ended with status ${code}`));
    this.#child.stdin.on("error", () => undefined);
    this.#child.stderr.on("data", (chunk: Buffer) => {
      this.#errors = `${this.#errors}${chunk}`.slice(-4000);
    });
    this.#child.stdout.on("data", (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#bytes += chunk.length;
      this.#wake();
    });
  }

  /** Sends a request and the bytes that belong to it, and waits for the answer. */
  async ask(request: Answer, tensors: readonly HostTensor[] = []): Promise<Answer> {
    this.#child.stdin.write(`${JSON.stringify(request)}\n`);
    for (const { values } of tensors) this.#child.stdin.write(new Uint8Array(values.buffer));
    return this.answer();
  }

  async answer(): Promise<Answer> {
    let line = this.#line();
    while (line === undefined) {
      await this.#more();
      line = this.#line();
    }
    const answer = JSON.parse(line) as Answer;
    if (typeof answer.error === "string") throw new Error(answer.error);
    return answer;
  }

  /** Bytes that follow an answer. */
  async bytes(count: number): Promise<Buffer> {
    while (this.#bytes < count) await this.#more();
    const all = Buffer.concat(this.#chunks);
    this.#keep(all.subarray(count));
    return all.subarray(0, count);
  }

  #line(): string | undefined {
    const all = Buffer.concat(this.#chunks);
    const end = all.indexOf(10);
    if (end < 0) return undefined;
    this.#keep(all.subarray(end + 1));
    return all.subarray(0, end).toString();
  }

  #keep(rest: Buffer): void {
    this.#chunks.splice(0, this.#chunks.length, rest);
    this.#bytes = rest.length;
  }

  async #more(): Promise<void> {
    if (this.#ended !== undefined) throw this.#ended;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
  }
}

const describe = (name: string, { shape, values }: HostTensor) => ({
  name,
  shape,
  kind: values instanceof Float32Array ? "f32" : "i32",
});
const describeAll = (tensors: HostTensors) => Object.entries(tensors).map(([name, tensor]) => describe(name, tensor));

const repeatable = (conversation: Conversation) => ({
  run: async () => {
    await conversation.ask({ action: "time", count: 1 });
  },
  // Every run waits for itself.
  wait: () => Promise.resolve(),
  time: async (count: number) => (await conversation.ask({ action: "time", count })).ms as number,
  peakBytes: async () => ((await conversation.ask({ action: "peak" })).bytes as number | null) ?? undefined,
  dispose: () => undefined,
});

async function train(conversation: Conversation, problem: TrainingProblem): Promise<Training> {
  const { case: measured, parameters, statistics, batches } = problem;
  const [first] = batches;
  if (first === undefined) throw new Error("pytorch: there is no batch to train on.");
  await conversation.ask(
    {
      action: "train",
      model: measured.model,
      learningRate: measured.learningRate,
      momentum: measured.momentum,
      parameters: describeAll(parameters),
      statistics: describeAll(statistics),
      batches: batches.length,
      batch: [describe("inputs", first.inputs), describe("labels", first.labels)],
    },
    [
      ...Object.values(parameters),
      ...Object.values(statistics),
      ...batches.flatMap(({ inputs, labels }) => [inputs, labels]),
    ],
  );
  return { ...repeatable(conversation), loss: async () => (await conversation.ask({ action: "loss" })).loss as number };
}

async function runKernel(
  conversation: Conversation,
  { case: { operation }, operands }: KernelProblem,
): Promise<KernelRun> {
  const isConvolution = operation.kind === "convolution";
  const orders = isConvolution
    ? [
        [0, 3, 1, 2],
        [3, 2, 0, 1],
        [0, 3, 1, 2],
      ]
    : [];
  const own = operands.map((operand, index) => {
    const order = orders[index];
    return order === undefined ? operand : transpose(operand, order);
  });
  const described = own.map((operand, index) => describe(String(index), operand));
  await conversation.ask({ action: "kernel", operation, operands: described }, own);
  return {
    ...repeatable(conversation),
    async results() {
      const { shapes } = (await conversation.ask({ action: "results" })) as { readonly shapes: number[][] };
      const backwards = isConvolution
        ? [
            [0, 2, 3, 1],
            [0, 2, 3, 1],
            [2, 3, 1, 0],
          ]
        : [];
      const results: Float32Array[] = [];
      for (const [index, shape] of shapes.entries()) {
        const bytes = await conversation.bytes(4 * sizeOf(shape));
        const values = new Float32Array(new Uint8Array(bytes).buffer);
        const order = backwards[index];
        results.push(order === undefined ? values : (transpose({ shape, values }, order).values as Float32Array));
      }
      return results;
    },
  };
}
