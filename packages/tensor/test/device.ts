import { afterAll, beforeAll } from "vitest";
import { type Device, init, setDefaultDevice } from "../src/device/device";
import { type CompileTarget, retarget } from "../src/testing";

/**
 * The default device for the tests of a file; errors that nobody read fail the file.
 *
 * @param target what programs are compiled for, where it is not what the device asks for. `THALWEG_TARGET=gpu` in the
 *   environment runs the kernels of GPUs in every file, on whatever adapter there is.
 */
export function useDevice(target?: Partial<CompileTarget>): () => Device {
  let device: Device | undefined;
  beforeAll(async () => {
    device = await init({ notice: () => undefined });
    const wanted = target ?? (process.env.THALWEG_TARGET === "gpu" ? { isSoftware: false } : undefined);
    if (wanted !== undefined) retarget(device, wanted);
  });
  afterAll(async () => {
    await device?.idle();
    device?.destroy();
    setDefaultDevice(undefined);
  });
  return () => device as Device;
}
