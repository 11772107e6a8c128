import type { Storage } from "../device/buffer-pool";
import type { Device } from "../device/device";
import { ArgumentError } from "../errors";
import type { Tensor } from "../tensor";
import { alignUp, tensorBytes } from "./plan-memory";

/** The storage of a realised tensor on a device; host data are uploaded, once. */
export function storageOn(device: Device, tensor: Tensor): Storage {
  const data = tensor.realized;
  if (data === undefined) {
    throw new ArgumentError(
      `The elements of ${tensor.toString()} were asked for while a function is traced (by compile, vmap or grad). ` +
        "They do not exist yet: keep reading (data, item, array) out of traced functions.",
    );
  }
  if (data.kind === "device") {
    if (data.device === device) return data.storage;
    throw new ArgumentError(
      `A tensor ${tensor.toString()} is on another device. Read it with data() and make it anew for this one.`,
    );
  }
  const storage = device.pool.allocate(alignUp(tensorBytes(tensor), 16), "tensor");
  if (data.bytes.byteLength > 0) device.write(storage.buffer, storage.byteOffset, new Uint8Array(data.bytes));
  tensor.realize({ kind: "device", device, storage });
  return storage;
}
