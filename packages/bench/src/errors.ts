import { ThalwegError } from "@thalweg/tensor";

/** A record, or a checkpoint that belongs to one, cannot be read or written. The message names file and line. */
export class RecordError extends ThalwegError {
  constructor(message: string, options?: ErrorOptions) {
    super("record", message, options);
    this.name = "RecordError";
  }
}

/** What the user asked for does not exist or makes no sense: an unknown name, a number that is none, a missing folder. */
export class UsageError extends ThalwegError {
  constructor(message: string, options?: ErrorOptions) {
    super("usage", message, options);
    this.name = "UsageError";
  }
}
