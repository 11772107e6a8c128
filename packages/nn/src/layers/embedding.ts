import { DTypeError, isInteger, type Tensor } from "@thalweg/tensor";
import { type Initializer, normal } from "../initializers";
import { defineStateless, describe, type Layer, type Nothing, namedRoles } from "../module";

export type EmbeddingParams = { readonly table: Tensor };

export interface EmbeddingOptions {
  /** Number of rows: indices are 0 … count - 1. */
  readonly count: number;
  /** Extent of a row. */
  readonly features: number;
  /** Default: standard normal, as in PyTorch. */
  readonly tableInit?: Initializer;
}

/**
 * Rows of a table: integers `[…]` to `[…, features]`. Indices outside of the table are clamped.
 *
 * Parameters: `table` `[count, features]`.
 */
export function embedding({
  count,
  features,
  tableInit = normal(),
}: EmbeddingOptions): Layer<EmbeddingParams, Nothing> {
  return defineStateless<EmbeddingParams>({
    kind: "embedding",
    init: (key) => ({ table: tableInit(key, [count, features]) }),
    roles: namedRoles({ table: "embedding" }),
    forward({ table }, indices: Tensor, { path }) {
      if (!isInteger(indices.dtype)) {
        throw new DTypeError(
          `${describe("embedding", path)}: indices are ${indices.dtype}, not integers. Cast them, and name the dtype when ` +
            'the parameters are made: init(key, { shape, dtype: "i32" }).',
        );
      }
      return table.gather(indices, { axis: 0 });
    },
  });
}
