import { ArgumentError, nearestName } from "../errors";

/** The limits that a caller can lower through {@link LimitCaps}. */
export const cappableLimits = [
  "maxStorageBufferBindingSize",
  "maxBufferSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupStorageSize",
  "maxComputeWorkgroupsPerDimension",
] as const;

/** Upper bounds that we honour even where the hardware allows more, for tests and for safety. */
export type LimitCaps = Partial<Record<(typeof cappableLimits)[number], number>>;

/** Limits that we ask of the adapter. More than a kernel can use is never asked, because some adapters then refuse. */
const requestedLimits = [
  ...cappableLimits,
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupSizeY",
  "maxComputeWorkgroupSizeZ",
] as const;

/** What kernels and plans may use, as plain numbers: the device's own limits after caps. Sizes are in bytes. */
export interface DeviceLimits {
  /** Largest range that one storage binding covers; a multiple of 256. */
  readonly maxStorageBufferBindingSize: number;
  /** Largest buffer; a multiple of 256. */
  readonly maxBufferSize: number;
  readonly maxStorageBuffersPerShaderStage: number;
  readonly maxComputeInvocationsPerWorkgroup: number;
  readonly maxComputeWorkgroupStorageSize: number;
  readonly maxComputeWorkgroupsPerDimension: number;
  readonly maxComputeWorkgroupSizeX: number;
  readonly maxComputeWorkgroupSizeY: number;
  readonly maxComputeWorkgroupSizeZ: number;
  /** Offsets of storage bindings are multiples of this. */
  readonly minStorageBufferOffsetAlignment: number;
}

/** Offsets and the two size limits are kept at multiples of this many bytes on every adapter. */
export const bindingAlignment = 256;

/**
 * Checks caps that a user passed.
 *
 * @throws ArgumentError - For an unknown name, or a value that is not a positive integer (sizes: at least 256).
 */
export function checkCaps(caps: LimitCaps): void {
  for (const [name, value] of Object.entries(caps)) {
    if (!(cappableLimits as readonly string[]).includes(name)) {
      const near = nearestName(name, cappableLimits);
      const hint = near === undefined ? `Known limits: ${cappableLimits.join(", ")}.` : `Did you mean "${near}"?`;
      throw new ArgumentError(`requestDevice: unknown limit "${name}". ${hint}`);
    }
    if (value === undefined) continue;
    const least = isSize(name) ? bindingAlignment : 1;
    if (!Number.isInteger(value) || value < least) {
      throw new ArgumentError(`requestDevice: limit ${name} is ${value}. Give an integer of at least ${least}.`);
    }
  }
}

/**
 * The `requiredLimits` of a device request: all that the adapter has, lowered to the caps.
 *
 * A cap below the default of the standard is not enforced by the device itself, only by our own checks.
 * Alignments are left at the standard's default, although smaller ones may be there, so that an offset that works on
 * one adapter works on all.
 */
export function limitsToRequest(adapter: GPUSupportedLimits, caps: LimitCaps): Record<string, number> {
  const required: Record<string, number> = {};
  for (const name of requestedLimits) {
    const available = adapter[name];
    // Older browsers lack some names, and asking for a name that they do not know fails the whole request.
    if (typeof available === "number") required[name] = Math.min(available, cap(caps, name));
  }
  return required;
}

/** What the device says, lowered to the caps. */
export function effectiveLimits(device: GPUSupportedLimits, caps: LimitCaps): DeviceLimits {
  const limit = (name: (typeof requestedLimits)[number]): number => {
    const value = Math.min(device[name], cap(caps, name));
    // Implementations report sizes like 4 GiB - 1, which no aligned range can reach.
    return isSize(name) ? Math.floor(value / bindingAlignment) * bindingAlignment : value;
  };
  const maxBufferSize = limit("maxBufferSize");
  return {
    maxStorageBufferBindingSize: Math.min(limit("maxStorageBufferBindingSize"), maxBufferSize),
    maxBufferSize,
    maxStorageBuffersPerShaderStage: limit("maxStorageBuffersPerShaderStage"),
    maxComputeInvocationsPerWorkgroup: limit("maxComputeInvocationsPerWorkgroup"),
    maxComputeWorkgroupStorageSize: limit("maxComputeWorkgroupStorageSize"),
    maxComputeWorkgroupsPerDimension: limit("maxComputeWorkgroupsPerDimension"),
    maxComputeWorkgroupSizeX: limit("maxComputeWorkgroupSizeX"),
    maxComputeWorkgroupSizeY: limit("maxComputeWorkgroupSizeY"),
    maxComputeWorkgroupSizeZ: limit("maxComputeWorkgroupSizeZ"),
    minStorageBufferOffsetAlignment: Math.max(bindingAlignment, device.minStorageBufferOffsetAlignment),
  };
}

function cap(caps: LimitCaps, name: (typeof requestedLimits)[number]): number {
  return (caps as Partial<Record<string, number>>)[name] ?? Number.POSITIVE_INFINITY;
}

function isSize(name: string): boolean {
  return name === "maxBufferSize" || name === "maxStorageBufferBindingSize";
}
