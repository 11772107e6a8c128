/**
 * Measures the variants of the kernels of a plan, on the device, on the shapes of the plan.
 */
import { lower } from "../compiler/lower";
import type { Plan } from "../compiler/plan";
import type { CompileTarget } from "../compiler/target";
import type { Device } from "../device/device";
import { assemble, type Kernel } from "../kernels/kernel";
import { askingTarget, type Question } from "./family";
import { KernelBench } from "./kernel-bench";
import { type Candidate, type Measurer, selectVariant } from "./select";
import type { TunedEntry, Variant } from "./table";
import type { ClassReport, TuningReport } from "./tuning";

/** A measurer with memory of its own. */
export interface Bench extends Measurer<Kernel> {
  dispose(): void;
}

/**
 * Measures every class of problems in a plan that the device's table lacks, and adds what it finds to the table. Of the
 * kernels of one class the one with the most arithmetic is measured.
 *
 * @param base the target without a table.
 * @param openBench a measurer for kernels with the same bindings.
 */
export async function tunePlan(
  device: Device,
  plan: Plan,
  base: CompileTarget,
  openBench: () => Bench = () => new KernelBench(device),
): Promise<TuningReport> {
  await device.tuning.load();
  const open = new Map<string, { question: Question; step: Plan["lowered"][number]; flops: number }>();
  const known = new Set<string>();
  for (const step of plan.lowered) {
    const { target, asked } = askingTarget(base);
    const { flops } = lower(step.cluster, step.tensors, target);
    for (const question of asked) {
      if (device.tuning.entries.has(question.key)) known.add(question.key);
      else if (flops > (open.get(question.key)?.flops ?? -1)) open.set(question.key, { question, step, flops });
    }
  }
  const found = new Map<string, TunedEntry>();
  const measured: ClassReport[] = [];
  for (const { question, step } of open.values()) {
    const candidates = distinctKernels(question, (target) =>
      assemble([lower(step.cluster, step.tensors, target)], target),
    );
    const bench = openBench();
    try {
      const selection = await selectVariant(candidates, bench, question.terms);
      if (selection === undefined) continue;
      const { chosen, nanoseconds, untunedNanoseconds } = selection;
      found.set(question.key, { variant: chosen, nanoseconds, untunedNanoseconds });
      measured.push({
        key: question.key,
        label: candidates[0]?.kernel?.spec.label ?? "",
        candidates: selection.candidates,
        chosen,
        speedup: untunedNanoseconds / nanoseconds,
      });
    } finally {
      bench.dispose();
      // What a candidate did wrong is in the report, and no later read has to answer for it.
      await device.idle().catch(() => undefined);
      device.takeErrors();
    }
  }
  const saved = await device.tuning.add(found, measured);
  return { measured, known: known.size, saved };
}

/** One candidate for each text: variants that come to the same kernel are measured once. */
function distinctKernels(question: Question, make: (target: CompileTarget) => Kernel): Candidate<Kernel>[] {
  const seen = new Set<string>();
  return question.variants.flatMap((variant: Variant): Candidate<Kernel>[] => {
    try {
      const kernel = make(question.forced(variant));
      const text = `${kernel.workgroups.join()};${kernel.spec.code}`;
      if (seen.has(text)) return [];
      seen.add(text);
      return [{ variant, kernel }];
    } catch (error) {
      return [{ variant, kernel: undefined, reason: error instanceof Error ? error.message : String(error) }];
    }
  });
}
