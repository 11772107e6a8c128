/** Resolve hook: adds the export condition that leads to a package's sources instead of its build. */
export function resolve(specifier, context, next) {
  return next(specifier, { ...context, conditions: ["@thalweg/source", ...context.conditions] });
}
