import type { Plugin } from "vite";

/**
 * What the page may do: run its own scripts and workers, and read from its own origin. Pictures may come from memory,
 * for exports. Nothing inline, nothing evaluated, nothing of anyone else.
 */
const policy: Readonly<Record<string, string>> = {
  "default-src": "'none'",
  "script-src": "'self'",
  "worker-src": "'self'",
  "style-src": "'self'",
  "img-src": "'self' blob: data:",
  "connect-src": "'self'",
  "manifest-src": "'self'",
  "base-uri": "'none'",
  "form-action": "'none'",
};

/** The development server puts style sheets into the page, marked with this. */
const developmentNonce = "development";

/**
 * Sets the content security policy: by a header in development and preview, and by a `meta` element in a build, which
 * any server can then deliver.
 */
export function contentSecurity(): Plugin {
  return {
    name: "content-security",
    config: (_, { command, isPreview }) => {
      const development = command === "serve" && isPreview !== true;
      // Only a header can forbid frames.
      const header = format({
        ...policy,
        ...(development ? { "style-src": `'self' 'nonce-${developmentNonce}'` } : {}),
        "frame-ancestors": "'none'",
      });
      const headers = { "Content-Security-Policy": header, "X-Content-Type-Options": "nosniff" };
      return {
        server: { headers },
        preview: { headers },
        ...(development ? { html: { cspNonce: developmentNonce } } : {}),
      };
    },
    transformIndexHtml: {
      order: "pre",
      handler: (_, { server }) =>
        server === undefined
          ? [
              {
                tag: "meta",
                attrs: { "http-equiv": "Content-Security-Policy", content: format(policy) },
                injectTo: "head-prepend",
              },
            ]
          : [],
    },
  };
}

function format(directives: Readonly<Record<string, string>>): string {
  return Object.entries(directives)
    .map(([name, sources]) => `${name} ${sources}`)
    .join("; ");
}
