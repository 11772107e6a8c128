/** An event of Chromium's trace format, as far as it is read here. */
interface TraceEvent {
  readonly name: string;
  readonly ph: string;
  readonly pid: number;
  readonly tid: number;
  /** Microseconds of the thread's own time: what a busy machine does meanwhile is not in it. */
  readonly tdur?: number;
  readonly args: { readonly name?: string };
}

/** The longest task of the page's main thread in a trace of the category `disabled-by-default-devtools.timeline`. */
export function largestTask(trace: Buffer): { readonly milliseconds: number; readonly tasks: number } {
  const { traceEvents } = JSON.parse(trace.toString()) as { readonly traceEvents: readonly TraceEvent[] };
  const threadOf = ({ pid, tid }: TraceEvent) => `${pid}:${tid}`;
  const main = new Set(
    traceEvents.filter(({ name, args }) => name === "thread_name" && args.name === "CrRendererMain").map(threadOf),
  );
  const tasks = traceEvents.filter(
    (event) => event.name === "RunTask" && event.ph === "X" && main.has(threadOf(event)),
  );
  return { milliseconds: Math.max(0, ...tasks.map(({ tdur = 0 }) => tdur / 1000)), tasks: tasks.length };
}
