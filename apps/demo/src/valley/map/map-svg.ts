/** What of its style an element needs in a file, where no style sheet is. */
const properties = [
  "fill",
  "fill-opacity",
  "stroke",
  "stroke-width",
  "stroke-opacity",
  "stroke-dasharray",
  "stroke-linejoin",
  "stroke-linecap",
  "paint-order",
  "vector-effect",
  "font-size",
  "font-style",
  "font-weight",
  "letter-spacing",
] as const;

/**
 * A picture of the page as an SVG document of its own, in the colours that it has now.
 *
 * @param leftOut A selector of what is of no use in a file.
 */
export function documentOf(
  picture: SVGSVGElement,
  { background, leftOut }: { background: string; leftOut: string },
): string {
  const copy = picture.cloneNode(true) as SVGSVGElement;
  const [originals, copies] = [picture.querySelectorAll("*"), copy.querySelectorAll("*")];
  for (const [index, original] of [...originals].entries()) {
    const style = getComputedStyle(original);
    const target = copies[index] as Element;
    for (const name of properties) target.setAttribute(name, style.getPropertyValue(name));
    for (const name of [
      "class",
      "tabindex",
      "role",
      "aria-label",
      "aria-roledescription",
      "aria-hidden",
      "data-series",
    ]) {
      target.removeAttribute(name);
    }
  }
  for (const [index, original] of [...originals].entries()) if (original.matches(leftOut)) copies[index]?.remove();
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  copy.setAttribute("viewBox", `0 0 ${picture.clientWidth} ${picture.clientHeight}`);
  copy.setAttribute("font-family", "system-ui, sans-serif");
  const rectangle = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  rectangle.setAttribute("width", "100%");
  rectangle.setAttribute("height", "100%");
  rectangle.setAttribute("fill", background);
  copy.prepend(rectangle);
  return new XMLSerializer().serializeToString(copy);
}
