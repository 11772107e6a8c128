/** Two arms of a spiral, wound around each other: no line separates them. */
export function twoSpirals({ pointsPerArm = 128, turns = 1.25 } = {}) {
  const points = new Float32Array(4 * pointsPerArm);
  const labels = new Int32Array(2 * pointsPerArm);
  for (let index = 0; index < labels.length; index++) {
    const arm = index % 2;
    const along = (Math.floor(index / 2) + 0.5) / pointsPerArm;
    const radius = 0.1 + 0.8 * along;
    const angle = 2 * Math.PI * turns * along + Math.PI * arm;
    points.set([radius * Math.cos(angle), radius * Math.sin(angle)], 2 * index);
    labels[index] = arm;
  }
  return { points, labels };
}

/** The centres of the cells of a square grid over [-1, 1]², row by row from the top. */
export function gridPoints(side) {
  const points = new Float32Array(2 * side * side);
  const at = (cell) => (2 * (cell + 0.5)) / side - 1;
  for (let index = 0; index < side * side; index++) {
    points.set([at(index % side), -at(Math.floor(index / side))], 2 * index);
  }
  return points;
}
