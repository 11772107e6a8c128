/**
 * Resolve hook: adds the export condition that leads to a package's sources instead of its build, and finds
 * `./name.node` as the source file `./name.node.ts`, where Node's own rules see a native addon.
 */
export function resolve(specifier, context, next) {
  const isNodeSource = /^\.\.?\/.*\.node$/.test(specifier) && context.parentURL?.endsWith(".ts");
  return next(isNodeSource ? `${specifier}.ts` : specifier, {
    ...context,
    conditions: ["@thalweg/source", ...context.conditions],
  });
}
