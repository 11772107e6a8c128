/** The view "Race". */
export function View() {
  return <h1>Race</h1>;
}
