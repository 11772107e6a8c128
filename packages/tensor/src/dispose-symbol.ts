// Engines without explicit resource management lack the symbol; `using` in compiled code looks it up by this name.
const symbols: { dispose?: symbol } = Symbol as unknown as { dispose?: symbol };
if (symbols.dispose === undefined) {
  Object.defineProperty(Symbol, "dispose", { value: Symbol.for("Symbol.dispose"), configurable: true });
}

export {};
