import { compile, type Device, key, normal, type Tensor } from "@thalweg/tensor";

/** A measured rate. */
export interface MeasuredRate {
  readonly gflops: number;
  /** Rows and columns of the matrices. */
  readonly size: number;
}

/** About as long as one measurement takes, and how many there are, of which the median counts. */
const [measurementMs, measurements] = [120, 5];

/**
 * Multiplies square f32 matrices, in the kernels that training runs in, and gives the median rate: 2 n³ operations a
 * product. Small matrices where the adapter computes on the CPU.
 */
export async function measureRate(device: Device): Promise<MeasuredRate> {
  const size = device.adapter.isSoftware ? 256 : 1024;
  const product = compile((a: Tensor, b: Tensor) => a.dot(b));
  using a = normal(key(1), [size, size]);
  using b = normal(key(2), [size, size]);
  const run = async (count: number): Promise<number> => {
    await device.idle();
    const start = performance.now();
    for (let index = 0; index < count; index++) product(a, b).dispose();
    await device.idle();
    return performance.now() - start;
  };
  try {
    // The first one compiles; the second says how many fill the time.
    await run(1);
    const count = Math.max(1, Math.min(1000, Math.round(measurementMs / (await run(1)))));
    const times: number[] = [];
    for (let index = 0; index < measurements; index++) times.push((await run(count)) / count);
    const median = times.sort((x, y) => x - y)[Math.floor(measurements / 2)] as number;
    return { gflops: (2 * size ** 3) / (median * 1e6), size };
  } finally {
    product.dispose();
  }
}
