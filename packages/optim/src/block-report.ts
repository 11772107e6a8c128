import type { Block } from "@thalweg/curvature";
import { type Shape, stack, type Tensor } from "@thalweg/tensor";
import { type GradientTransformation, type OptimizerState, quantities } from "./transform";
import { columns } from "./transforms/kronecker";

/** What a method with blocks knows of one of them. */
export interface BlockReport {
  readonly name: string;
  /** `"kronecker"`, `"embedding"`, `"unitwise"`, `"diagonal"`. */
  readonly kind: Block["kind"];
  /** `[groups, outputs, inputs]` of a layer, a bias being one more input; the shape of other parameters. */
  readonly shape: Shape;
  /** R, the positions per example that share a layer's weight. */
  readonly positions: number | undefined;
  readonly flavour: "expand" | "reduce" | undefined;
  /** λ at the last inversion, raised where inversions failed. */
  readonly damping: number;
  /** In what ratio λ is divided between the factors. */
  readonly pi: number;
  /** Of the damped block: an estimate. */
  readonly condition: number;
  /** The part of the eigenvalues (or pivots of a decomposition) that were zero or negative and count as zero. */
  readonly clipped: number;
  /** The step of the last inversion; undefined before the first. */
  readonly refreshed: number | undefined;
  /** Inversions that were not finite, so that the inverse before was kept. */
  readonly recoveries: number;
  /** What else is to be known, such as why a parameter has no Kronecker form. */
  readonly remarks: readonly string[];
}

/**
 * A line for each block of `kfac`, `kfacReduce` or `ekfac`, also inside of wrappers and chains; blocks that are left to
 * another rule are missing. One readback.
 *
 * @param blocks those that the state was made with.
 * @example console.table(await blockReport(optimizer, state, curvature.blocks));
 */
export async function blockReport(
  optimizer: GradientTransformation,
  state: OptimizerState,
  blocks: readonly Block[],
): Promise<readonly BlockReport[]> {
  const known = quantities(optimizer, state);
  const own = blocks.filter(({ name }) => known[`${name} damping`] !== undefined);
  if (own.length === 0) return [];
  const cells = own.flatMap(({ name }) => columns.map((column) => known[`${name} ${column}`] as Tensor));
  using table = stack(cells);
  const values = await table.data();
  return own.map((block, index) => {
    const number = (column: (typeof columns)[number]): number =>
      values[index * columns.length + columns.indexOf(column)] as number;
    const { name, kind, remarks } = block;
    const refreshed = number("refreshed");
    return {
      name,
      kind,
      ...shapeOf(block),
      damping: number("damping"),
      pi: number("pi"),
      condition: number("condition"),
      clipped: number("clipped"),
      refreshed: refreshed < 0 ? undefined : refreshed,
      recoveries: number("recoveries"),
      remarks,
    };
  });
}

function shapeOf(block: Block): Pick<BlockReport, "shape" | "positions" | "flavour"> {
  if (block.kind === "unitwise") return { shape: block.scale.shape, positions: undefined, flavour: undefined };
  if (block.kind === "diagonal") return { shape: block.parameter.shape, positions: undefined, flavour: undefined };
  const { layout, positions, flavour } = block;
  const ins = layout.ins + (block.kind === "kronecker" && block.bias !== undefined ? 1 : 0);
  return { shape: [layout.groups, layout.outs, ins], positions, flavour };
}
