import { describe, expect, test } from "vitest";
import { checkCaps, effectiveLimits, type LimitCaps, limitsToRequest } from "./limits";

/** Limits like those of Mesa's lavapipe, where the largest buffer is not a multiple of anything. */
const hardware = {
  maxStorageBufferBindingSize: 2 ** 32 - 4,
  maxBufferSize: 2 ** 32 - 1,
  maxStorageBuffersPerShaderStage: 16,
  maxComputeInvocationsPerWorkgroup: 1024,
  maxComputeWorkgroupStorageSize: 32768,
  maxComputeWorkgroupsPerDimension: 65535,
  maxComputeWorkgroupSizeX: 1024,
  maxComputeWorkgroupSizeY: 1024,
  maxComputeWorkgroupSizeZ: 64,
  minStorageBufferOffsetAlignment: 16,
} as GPUSupportedLimits;

describe("effectiveLimits", () => {
  test("rounds sizes down to what can be bound", () => {
    const limits = effectiveLimits(hardware, {});
    expect(limits.maxBufferSize).toBe(2 ** 32 - 256);
    expect(limits.maxStorageBufferBindingSize).toBe(2 ** 32 - 256);
  });

  test("keeps the standard's alignment where the hardware has a finer one", () => {
    expect(effectiveLimits(hardware, {}).minStorageBufferOffsetAlignment).toBe(256);
  });

  test("a cap lowers a limit and never raises one", () => {
    const limits = effectiveLimits(hardware, {
      maxStorageBufferBindingSize: 2 ** 20 + 1,
      maxStorageBuffersPerShaderStage: 99,
    });
    expect(limits.maxStorageBufferBindingSize).toBe(2 ** 20);
    expect(limits.maxStorageBuffersPerShaderStage).toBe(16);
  });

  test("a binding is never larger than a buffer", () => {
    expect(effectiveLimits(hardware, { maxBufferSize: 4096 }).maxStorageBufferBindingSize).toBe(4096);
  });
});

describe("limitsToRequest", () => {
  test("asks for what the adapter has, lowered to the caps, and for no alignment", () => {
    const required = limitsToRequest(hardware, { maxBufferSize: 2 ** 28 });
    expect(required.maxBufferSize).toBe(2 ** 28);
    expect(required.maxComputeInvocationsPerWorkgroup).toBe(1024);
    expect(required).not.toHaveProperty("minStorageBufferOffsetAlignment");
  });

  test("does not ask for limits that the adapter has not heard of", () => {
    const { maxStorageBuffersPerShaderStage: _, ...older } = hardware;
    expect(limitsToRequest(older as GPUSupportedLimits, {})).not.toHaveProperty("maxStorageBuffersPerShaderStage");
  });
});

describe("checkCaps", () => {
  test("accepts what it should", () => {
    expect(() => checkCaps({ maxBufferSize: 2 ** 20, maxStorageBuffersPerShaderStage: 1 })).not.toThrow();
  });

  test("an unknown limit is named with the one that was meant", () => {
    expect(() => checkCaps({ maxBuferSize: 1024 } as LimitCaps)).toThrowErrorMatchingInlineSnapshot(
      `[ArgumentError: requestDevice: unknown limit "maxBuferSize". Did you mean "maxBufferSize"?]`,
    );
  });

  test("a size below one binding's alignment is refused", () => {
    expect(() => checkCaps({ maxBufferSize: 12 })).toThrowErrorMatchingInlineSnapshot(
      `[ArgumentError: requestDevice: limit maxBufferSize is 12. Give an integer of at least 256.]`,
    );
  });

  test.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY])("%d is not a limit", (value) => {
    expect(() => checkCaps({ maxStorageBuffersPerShaderStage: value })).toThrow(/Give an integer of at least 1/);
  });
});
