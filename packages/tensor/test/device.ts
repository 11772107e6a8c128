import { afterAll, beforeAll } from "vitest";
import { type Device, init, setDefaultDevice } from "../src/device/device";

/** The default device for the tests of a file; errors that nobody read fail the file. */
export function useDevice(): () => Device {
  let device: Device | undefined;
  beforeAll(async () => {
    device = await init({ notice: () => undefined });
  });
  afterAll(async () => {
    await device?.idle();
    device?.destroy();
    setDefaultDevice(undefined);
  });
  return () => device as Device;
}
