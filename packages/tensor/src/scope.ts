import type { Tensor } from "./tensor";
import { treeLeaves } from "./tree";

/** Tensors made since the innermost scope began; none outside of scopes. */
let current: Tensor[] | undefined;

/** Notes a new tensor for the scope it was made in. */
export function remember(tensor: Tensor): void {
  current?.push(tensor);
}

/**
 * Runs `fn` and frees the device memory of all tensors made in it, except of those it returns and of what these still
 * need. Scopes nest; what escapes belongs to the surrounding scope.
 *
 * @example const norm = scope(() => params.map((p) => p.square().sum()).reduce((a, b) => a.add(b)).sqrt());
 */
export function scope<R>(fn: () => R): R {
  const surrounding = current;
  const made: Tensor[] = [];
  current = made;
  try {
    const result = fn();
    const kept = reachable(treeLeaves<unknown>(result));
    for (const tensor of made) {
      if (kept.has(tensor)) surrounding?.push(tensor);
      else tensor.dispose();
    }
    return result;
  } catch (error) {
    for (const tensor of made) tensor.dispose();
    throw error;
  } finally {
    current = surrounding;
  }
}

function reachable(roots: readonly unknown[]): Set<unknown> {
  const seen = new Set<unknown>();
  const pending = [...roots];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    if (seen.has(next)) continue;
    seen.add(next);
    const inputs = (next as Partial<Tensor>).inputs;
    if (inputs !== undefined) pending.push(...inputs);
  }
  return seen;
}
