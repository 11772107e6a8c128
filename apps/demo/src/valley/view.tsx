/** The view "Valley". */
export function View() {
  return <h1>Valley</h1>;
}
