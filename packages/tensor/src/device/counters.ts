/** How often a device did what costs time. All start at 0 and only grow. */
export interface CounterValues {
  /** Compute dispatches, counted by whoever encodes them. */
  dispatches: number;
  /** Calls of `queue.submit`, those of reads included. */
  submits: number;
  /** Every `createBuffer`: storage, staging, uniform, queries. */
  buffersCreated: number;
  bindGroupsCreated: number;
  pipelinesCreated: number;
  /** Reads from the device to the host. */
  readbacks: number;
  bytesUploaded: number;
  bytesRead: number;
}

/** The counters of a device: plain numbers that the code which does the work adds to. */
export class Counters implements CounterValues {
  dispatches = 0;
  submits = 0;
  buffersCreated = 0;
  bindGroupsCreated = 0;
  pipelinesCreated = 0;
  readbacks = 0;
  bytesUploaded = 0;
  bytesRead = 0;

  /** A copy of the values now. */
  snapshot(): CounterValues {
    return { ...this };
  }

  /** What was added since an earlier snapshot. */
  since(earlier: CounterValues): CounterValues {
    const now = this.snapshot();
    for (const name of Object.keys(now) as (keyof CounterValues)[]) now[name] -= earlier[name];
    return now;
  }
}
