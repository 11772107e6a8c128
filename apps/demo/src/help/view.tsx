/** The view "Help". */
export function View() {
  return <h1>Help</h1>;
}
