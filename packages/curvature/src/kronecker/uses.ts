/** Finds what a model does with its parameters by looking at the graph that it built. */
import { type DotParams, type Equation, equationsBetween, loweringOf, type Tensor } from "@thalweg/tensor";
import { isBijective, type Step } from "./layout";

interface ViewOfParameter {
  /** Position in the list of parameters. */
  readonly parameter: number;
  readonly steps: readonly Step[];
}

/** A contraction of an activation with a parameter: s = W a at every shared position. */
export interface LinearUse extends ViewOfParameter {
  readonly kind: "linear";
  readonly view: Tensor;
  /** Which operand of the contraction the parameter is. */
  readonly side: 0 | 1;
  readonly params: DotParams;
  readonly activations: Tensor;
  readonly output: Tensor;
}

/** Rows of a parameter taken by the integers of the example. */
export interface LookupUse extends ViewOfParameter {
  readonly kind: "lookup";
  readonly view: Tensor;
  readonly indices: Tensor;
  readonly axis: number;
  readonly output: Tensor;
}

/** A parameter added to an activation, or multiplied with it element by element. */
export interface ElementwiseUse extends ViewOfParameter {
  readonly kind: "shift" | "scale";
  /** Are the movements the whole way, with no arithmetic on the parameter before? */
  readonly isPlain: boolean;
  /** The activation. */
  readonly other: Tensor;
  readonly output: Tensor;
}

/** Anything else. */
export interface OtherUse {
  readonly kind: "other";
  readonly parameter: number;
  /** Name of the operation that uses the parameter. */
  readonly operation: string;
}

export type Use = LinearUse | LookupUse | ElementwiseUse | OtherUse;

/** The uses of parameters in a graph, and who reads what in it. */
export interface UsesOfParameters {
  readonly uses: readonly Use[];
  /** What reads a tensor; the outputs of the graph are read once more, by undefined. */
  readonly readers: ReadonlyMap<Tensor, readonly (Equation | undefined)[]>;
}

/**
 * @param parameters roots of the graph.
 * @param examples roots that differ between examples.
 */
export function usesOfParameters(
  parameters: readonly Tensor[],
  examples: readonly Tensor[],
  outputs: readonly Tensor[],
): UsesOfParameters {
  const varying = new Set([
    ...examples,
    ...equationsBetween(examples, outputs).flatMap((equation) => equation.outputs),
  ]);
  const equations = equationsBetween(parameters, outputs);
  const views = new Map<Tensor, ViewOfParameter>();
  /** Parameters after arithmetic with constants, such as a scale times the root of a running variance. */
  const derived = new Map<Tensor, number>();
  parameters.forEach((root, parameter) => views.set(root, { parameter, steps: [] }));
  const uses: Use[] = [];
  const readers = new Map<Tensor, (Equation | undefined)[]>();
  const note = (tensor: Tensor, reader: Equation | undefined) => {
    const list = readers.get(tensor);
    if (list === undefined) readers.set(tensor, [reader]);
    else list.push(reader);
  };
  for (const equation of equations) {
    for (const input of equation.inputs) note(input, equation);
    visit(equation);
  }
  for (const output of outputs) note(output, undefined);
  return { uses, readers };

  function visit(equation: Equation): void {
    const { primitive, inputs, outputs: results } = equation;
    const positions = inputs
      .map((_, index) => index)
      .filter((index) => views.has(inputs[index] as Tensor) || derived.has(inputs[index] as Tensor));
    if (positions.length === 0 || primitive.name === "stopGradient") return;
    const [position] = positions as [number];
    const input = inputs[position] as Tensor;
    const view = views.get(input);
    const [output] = results as [Tensor];
    const { kind } = primitive.lowering;
    if (view !== undefined && kind === "alias") {
      views.set(output, view);
      return;
    }
    if (view !== undefined && kind === "movement") {
      views.set(output, { ...view, steps: [...view.steps, { primitive, params: equation.params[0] }] });
      return;
    }
    const found = positions.length === 1 ? useOf(equation, position, view) : undefined;
    if (found !== undefined) {
      uses.push(found);
      return;
    }
    const parameter = view?.parameter ?? (derived.get(input) as number);
    const isOwnArithmetic =
      positions.length === 1 && (kind === "elementwise" || kind === "movement" || kind === "alias");
    if (isOwnArithmetic && !inputs.some((each) => varying.has(each))) {
      for (const result of results) derived.set(result, parameter);
      return;
    }
    for (const index of positions) {
      const own = inputs[index] as Tensor;
      uses.push({
        kind: "other",
        parameter: views.get(own)?.parameter ?? (derived.get(own) as number),
        operation: primitive.name,
      });
    }
  }

  function useOf(
    { primitive, inputs, outputs: [output], params: [params] }: Equation,
    position: number,
    view: ViewOfParameter | undefined,
  ): Use | undefined {
    const other = inputs[1 - position];
    if (inputs.length !== 2 || other === undefined || output === undefined || !varying.has(other)) return undefined;
    const operand = inputs[position] as Tensor;
    if (primitive.name === "add" || primitive.name === "mul") {
      const kind = primitive.name === "add" ? "shift" : "scale";
      const isPlain = view !== undefined;
      return {
        kind,
        isPlain,
        parameter: view?.parameter ?? (derived.get(operand) as number),
        steps: view?.steps ?? [],
        other,
        output,
      };
    }
    if (view === undefined || !isBijective(view.steps)) return undefined;
    if (loweringOf({ primitive }, "contraction") !== undefined) {
      const side = position as 0 | 1;
      return { kind: "linear", ...view, view: operand, side, params: params as DotParams, activations: other, output };
    }
    const lookup = loweringOf({ primitive }, "gather");
    if (lookup !== undefined && position === 0) {
      return { kind: "lookup", ...view, view: operand, indices: other, axis: lookup.axis(params), output };
    }
    return undefined;
  }
}
