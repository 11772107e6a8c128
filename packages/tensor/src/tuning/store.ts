/**
 * The contract of the module `#tuning-store`, of which there is one for browsers and one for Node: small texts that outlive
 * the process. The package's `imports` conditions choose between them, as they do for `#adapter`.
 */
export interface TuningStoreModule {
  /** The text that is kept under a name, or undefined. */
  readStored(name: string): Promise<string | undefined>;
  /**
   * Replaces the text that is kept under a name by what `change` makes of it, at once for every reader. Where several
   * processes or pages do so at the same time, each change sees what the one before it wrote.
   *
   * @param name - Letters, digits, dots and dashes.
   * @throws Whatever the file system or the browser says. The caller goes on without.
   */
  updateStored(name: string, change: (before: string | undefined) => string): Promise<void>;
}
