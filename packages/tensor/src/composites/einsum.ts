import { ArgumentError, formatShape, ShapeError } from "../errors";
import { sizeOf } from "../shape";
import type { Tensor } from "../tensor";

/** A tensor whose axes have names, each at most once. */
interface Labelled {
  readonly tensor: Tensor;
  readonly labels: readonly string[];
}

/**
 * Sums of products written with index letters: `einsum("bij,bjk->bik", a, b)` is a batched matrix product.
 *
 * Letters that the result lacks are summed over. Without `->` the result has the letters that occur once, in
 * alphabetical order. A letter that occurs twice in one operand takes its diagonal. `...` stands for leading axes that
 * all operands which have it share. Axes of one letter must have one extent; nothing broadcasts.
 * More than two operands are multiplied pair by pair, the pair with the smallest result first.
 *
 * @throws ArgumentError for a malformed subscript; ShapeError where extents differ or ranks do not fit.
 */
export function einsum(subscripts: string, ...operands: readonly Tensor[]): Tensor {
  const { inputs, output } = parse(subscripts, operands);
  const terms = operands.map((tensor, index) => diagonal({ tensor, labels: inputs[index] as readonly string[] }));
  while (terms.length > 1) {
    const [first, second] = cheapestPair(terms, output);
    const [b] = terms.splice(second, 1) as [Labelled];
    const [a] = terms.splice(first, 1) as [Labelled];
    const needed = new Set([...output, ...terms.flatMap(({ labels }) => labels)]);
    terms.push(multiply(a, b, needed));
  }
  const { tensor, labels } = sumAway(terms[0] as Labelled, new Set(output));
  return tensor.permute(output.map((label) => labels.indexOf(label)));
}

function parse(subscripts: string, operands: readonly Tensor[]): { inputs: string[][]; output: string[] } {
  const fail = (what: string): never => {
    throw new ArgumentError(`einsum: "${subscripts}" ${what}. Write it like "ij,jk->ik".`);
  };
  const [left = "", right, ...more] = subscripts.replaceAll(" ", "").split("->");
  const terms = left.split(",");
  if (more.length > 0) fail("has two arrows");
  for (const term of right === undefined ? terms : [...terms, right]) {
    if (!/^[A-Za-z]*(\.\.\.)?[A-Za-z]*$/.test(term)) fail(`has "${term}", which is not made of letters and one "..."`);
  }
  if (terms.length !== operands.length) {
    fail(`names ${terms.length} operand${terms.length === 1 ? "" : "s"}, ${operands.length} were given`);
  }
  const extents = new Map<string, { extent: number; where: string }>();
  const inputs = terms.map((term, index) => expandTerm(subscripts, term, index, operands[index] as Tensor, extents));
  const dotted = Math.max(0, ...inputs.map((labels) => labels.filter((label) => label.startsWith(".")).length));
  const ellipsis = Array.from({ length: dotted }, (_, axis) => `.${dotted - axis}`);
  if (right === undefined) {
    const all = inputs.flat().filter((label) => !label.startsWith("."));
    const once = [...new Set(all)].filter((label) => all.indexOf(label) === all.lastIndexOf(label)).sort();
    return { inputs, output: [...ellipsis, ...once] };
  }
  const output = splitTerm(right).flatMap((label) => (label === "..." ? ellipsis : [label]));
  const twice = output.find((label, index) => output.indexOf(label) !== index);
  if (twice !== undefined) fail(`has "${twice}" twice in the result`);
  const unknown = output.find((label) => !extents.has(label));
  if (unknown !== undefined) fail(`has "${unknown}" in the result and in no operand`);
  return { inputs, output };
}

const splitTerm = (term: string): string[] => term.match(/\.\.\.|[A-Za-z]/g) ?? [];

/** The label of every axis of an operand; axes under `...` are `.1`, `.2`, … from the right. */
function expandTerm(
  subscripts: string,
  term: string,
  index: number,
  tensor: Tensor,
  extents: Map<string, { extent: number; where: string }>,
): string[] {
  const parts = splitTerm(term);
  const hidden = parts.includes("...") ? tensor.rank - parts.length + 1 : 0;
  const labels = parts.flatMap((part) =>
    part === "..." ? Array.from({ length: Math.max(0, hidden) }, (_, axis) => `.${hidden - axis}`) : [part],
  );
  if (labels.length !== tensor.rank || hidden < 0) {
    throw new ShapeError(
      `einsum: "${term}" in "${subscripts}" does not fit operand ${index}, which is ${formatShape(tensor.shape)}. ` +
        "Give one letter per axis.",
    );
  }
  labels.forEach((label, axis) => {
    const extent = tensor.shape[axis] as number;
    const known = extents.get(label);
    const where = `axis ${axis} of operand ${index} ${formatShape(tensor.shape)}`;
    if (known !== undefined && known.extent !== extent) {
      throw new ShapeError(
        `einsum: "${label}" in "${subscripts}" is ${known.extent} at ${known.where} and ${extent} at ${where}. ` +
          "Axes of one letter must agree.",
      );
    }
    extents.set(label, { extent, where });
  });
  return labels;
}

/** Takes the diagonal of every label that occurs twice. */
function diagonal({ tensor, labels }: Labelled): Labelled {
  const first = labels.findIndex((label, axis) => labels.indexOf(label, axis + 1) >= 0);
  if (first < 0) return { tensor, labels };
  const second = labels.indexOf(labels[first] as string, first + 1);
  const others = labels.map((_, axis) => axis).filter((axis) => axis !== first && axis !== second);
  const rest = others.map((axis) => tensor.shape[axis] as number);
  const extent = tensor.shape[first] as number;
  // Rows one longer than the matrix move the diagonal into the first column.
  const square = tensor.permute([...others, first, second]).reshape([...rest, extent * extent]);
  const rows = square
    .pad([...rest.map((): [number, number] => [0, 0]), [0, extent]])
    .reshape([...rest, extent, extent + 1])
    .slice([], [...rest, extent, 1])
    .reshape([...rest, extent]);
  const kept = [...others.map((axis) => labels[axis] as string), labels[first] as string];
  return diagonal({ tensor: rows, labels: kept });
}

function sumAway({ tensor, labels }: Labelled, needed: ReadonlySet<string>): Labelled {
  const axes = labels.flatMap((label, axis) => (needed.has(label) ? [] : [axis]));
  if (axes.length === 0) return { tensor, labels };
  return { tensor: tensor.sum({ axis: axes }), labels: labels.filter((label) => needed.has(label)) };
}

/** Multiplies two terms and sums over the labels that only they have. */
function multiply(left: Labelled, right: Labelled, needed: ReadonlySet<string>): Labelled {
  const a = sumAway(left, new Set([...needed, ...right.labels]));
  const b = sumAway(right, new Set([...needed, ...left.labels]));
  const shared = a.labels.filter((label) => b.labels.includes(label));
  const contracted = shared.filter((label) => !needed.has(label));
  const batch = shared.filter((label) => needed.has(label));
  const axesOf = ({ labels }: Labelled, names: readonly string[]) => names.map((name) => labels.indexOf(name));
  const free = ({ labels }: Labelled) => labels.filter((label) => !shared.includes(label));
  const labels = [...batch, ...free(a), ...free(b)];
  if (contracted.length > 0) {
    const tensor = a.tensor.dot(b.tensor, {
      batch: [axesOf(a, batch), axesOf(b, batch)],
      contract: [axesOf(a, contracted), axesOf(b, contracted)],
    });
    return { tensor, labels };
  }
  // Nothing is summed: an elementwise product fuses with its neighbours, a contraction would not.
  const align = (term: Labelled) => {
    const order = axesOf(
      term,
      labels.filter((label) => term.labels.includes(label)),
    );
    const extents = labels.map((label) =>
      term.labels.includes(label) ? term.tensor.shape[term.labels.indexOf(label)] : 1,
    );
    return term.tensor.permute(order).reshape(extents as number[]);
  };
  return { tensor: align(a).mul(align(b)), labels };
}

/** Positions of the two terms, the first one smaller, whose product has the fewest elements. */
function cheapestPair(terms: readonly Labelled[], output: readonly string[]): [number, number] {
  const extents = new Map(
    terms.flatMap(({ tensor, labels }) => labels.map((label, axis) => [label, tensor.shape[axis] as number])),
  );
  let best: [number, number] = [0, 1];
  let smallest = Number.POSITIVE_INFINITY;
  for (let second = 1; second < terms.length; second++) {
    for (let first = 0; first < second; first++) {
      const others = terms.flatMap(({ labels }, index) => (index === first || index === second ? [] : labels));
      const needed = new Set([...output, ...others]);
      const own = new Set([...(terms[first] as Labelled).labels, ...(terms[second] as Labelled).labels]);
      const size = sizeOf([...own].filter((label) => needed.has(label)).map((label) => extents.get(label) as number));
      if (size < smallest) [best, smallest] = [[first, second], size];
    }
  }
  return best;
}
