import { describe, expect, test } from "vitest";
import {
  ArgumentError,
  DeviceLostError,
  DisposedError,
  DTypeError,
  formatShape,
  NonFiniteError,
  nearestName,
  OutOfMemoryError,
  ShapeError,
  ThalwegError,
  UnsupportedError,
} from "./errors";

describe("errors", () => {
  const cause = new RangeError("origin");
  const details = { requestedBytes: 8, liveBytes: 4, limitBytes: 6 };
  test.each([
    [new ShapeError("m", { cause }), "ShapeError", "shape"],
    [new DTypeError("m", { cause }), "DTypeError", "dtype"],
    [new ArgumentError("m", { cause }), "ArgumentError", "argument"],
    [new NonFiniteError("m", { cause }), "NonFiniteError", "non-finite"],
    [new DisposedError("m", { cause }), "DisposedError", "disposed"],
    [new UnsupportedError("m", { cause }), "UnsupportedError", "unsupported"],
    [new OutOfMemoryError("m", details, { cause }), "OutOfMemoryError", "out-of-memory"],
    [new DeviceLostError("m", { cause }), "DeviceLostError", "device-lost"],
    [new ThalwegError("shader", "m", { cause }), "ThalwegError", "shader"],
  ])("%s has its name, code, message and cause", (error, name, code) => {
    expect(error).toBeInstanceOf(ThalwegError);
    expect(error).toMatchObject({ name, code, message: "m", cause });
  });

  test("an out-of-memory error carries its byte counts", () => {
    expect(new OutOfMemoryError("m", details)).toMatchObject(details);
    expect(new OutOfMemoryError("m", { requestedBytes: 8, liveBytes: 4 }).limitBytes).toBeUndefined();
  });
});

test.each([
  [[], "[]"],
  [[3], "[3]"],
  [[128, 784], "[128, 784]"],
])("formatShape prints %j as %s", (shape, text) => {
  expect(formatShape(shape)).toBe(text);
});

describe("nearestName", () => {
  const names = ["adam", "adamw", "momentum", "rmsprop", "sgd"];
  test.each([
    ["adma", "adam"],
    ["ADAMW", "adamw"],
    ["momentun", "momentum"],
    ["mometnum", "momentum"],
    ["rms_prop", "rmsprop"],
    ["sgdd", "sgd"],
    ["adamx", "adam"],
  ])("%s means %s", (name, nearest) => {
    expect(nearestName(name, names)).toBe(nearest);
  });

  test.each(["lion", "", "stochastic", "xyz"])("%j means none of them", (name) => {
    expect(nearestName(name, names)).toBeUndefined();
  });
});
