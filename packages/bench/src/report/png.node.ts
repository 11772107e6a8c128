import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { Resvg } from "@resvg/resvg-js";

/**
 * Draws an SVG as PNG, with the fonts that come with this package, so that the picture is the same on every machine,
 * also on one without any fonts.
 *
 * @param scale pixels per SVG unit.
 */
export function renderPng(svg: string, scale = 2): Uint8Array {
  const fonts = dirname(createRequire(import.meta.url).resolve("@expo-google-fonts/ibm-plex-sans/package.json"));
  const resvg = new Resvg(svg, {
    fitTo: { mode: "zoom", value: scale },
    font: {
      fontFiles: ["400Regular", "600SemiBold"].map((face) => join(fonts, face, `IBMPlexSans_${face}.ttf`)),
      loadSystemFonts: false,
      defaultFontFamily: "IBM Plex Sans",
    },
  });
  return resvg.render().asPng();
}
