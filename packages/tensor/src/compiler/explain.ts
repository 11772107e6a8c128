import type { Tensor } from "../tensor";
import type { Plan } from "./plan";

/** A listing of a plan: kernels in order with what they read and write, and the memory that they share. */
export function explainPlan(name: string, plan: Plan): string {
  const numbers = new Map<Tensor, number>();
  const label = (node: Tensor): string => {
    const number = numbers.get(node) ?? numbers.size;
    numbers.set(node, number);
    const kind = node.primitive.lowering.kind === "leaf" ? "leaf" : node.primitive.name;
    return `%${number} ${kind} ${node.toString()}`;
  };
  const lines = plan.kernels.map((kernel, index) => {
    const reads = kernel.bindings
      .filter((_, binding) => kernel.spec.bindings[binding] === "read")
      .map(([node]) => label(node as Tensor));
    const writes = kernel.bindings
      .filter((_, binding) => kernel.spec.bindings[binding] !== "read")
      .map(([node, before]) =>
        before === undefined ? label(node as Tensor) : `${label(node as Tensor)} in place of ${label(before)}`,
      );
    const inside = plan.loops.filter(({ from, to }) => from <= index && index < to);
    const heads = inside.flatMap(({ from, to, length }) =>
      from === index ? [`    loop of ${length} iterations over kernels ${from} to ${to - 1}\n`] : [],
    );
    return `${heads.join("")}${String(index).padStart(3)} ${kernel.spec.label}\n      reads  ${reads.join(", ") || "nothing"}\n      writes ${writes.join(", ")}`;
  });
  const dispatches = plan.kernels.reduce((sum, _, index) => {
    const around = plan.loops.filter(({ from, to }) => from <= index && index < to);
    return sum + around.reduce((runs, { length }) => runs * length, 1);
  }, 0);
  const arenas = plan.memory.arenas.map((bytes) => bytes.toLocaleString("en")).join(" + ") || "0";
  return [
    `${name}: ${plan.kernels.length} kernels${plan.loops.length > 0 ? `, ${dispatches} dispatches` : ""} in 1 submit`,
    ...lines,
    `temporaries: ${arenas} bytes (at least ${plan.memory.lowerBound.toLocaleString("en")} are alive at once)`,
    `results: ${plan.resultBytes.toLocaleString("en")} bytes`,
  ].join("\n");
}
