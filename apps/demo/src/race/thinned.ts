/**
 * A series that never holds more than `capacity` points, however many it is given: when it is full, every second one goes,
 * and from then on only every second, fourth, … new one is taken. So its points stay evenly spread, and a chart of an hour
 * costs what a chart of a minute does. The newest point is always there.
 */
export class ThinnedSeries<T> {
  readonly #capacity: number;
  readonly #positionOf: (point: T) => number;
  #kept: T[] = [];
  #newest: T | undefined;
  #stride = 1;
  #offered = 0;

  /**
   * @param capacity At least 2; an even number.
   * @param positionOf By what points are in order.
   */
  constructor(capacity: number, positionOf: (point: T) => number) {
    this.#capacity = capacity;
    this.#positionOf = positionOf;
  }

  /** Adds a point behind all others. What is at this position and beyond, from before a loss of the device, goes first. */
  push(point: T): void {
    const position = this.#positionOf(point);
    if (this.#newest !== undefined && position <= this.#positionOf(this.#newest)) this.#cutFrom(position);
    this.#newest = point;
    const isTaken = this.#offered % this.#stride === 0;
    this.#offered++;
    if (!isTaken) return;
    this.#kept.push(point);
    if (this.#kept.length < this.#capacity) return;
    this.#kept = this.#kept.filter((_, index) => index % 2 === 0);
    this.#stride *= 2;
  }

  clear(): void {
    this.#kept = [];
    this.#newest = undefined;
    this.#stride = 1;
    this.#offered = 0;
  }

  /** The points, in order. */
  get points(): readonly T[] {
    const last = this.#kept.at(-1);
    return this.#newest === undefined || this.#newest === last ? this.#kept : [...this.#kept, this.#newest];
  }

  #cutFrom(position: number): void {
    this.#kept = this.#kept.filter((point) => this.#positionOf(point) < position);
    this.#offered = this.#kept.length * this.#stride;
    this.#newest = this.#kept.at(-1);
  }
}
