/** Files that the bundle carries as text. */
declare module "*.py" {
  const text: string;
  export default text;
}
