import type { FileReader } from "@thalweg/workloads";
import type { RunEnvironment } from "./records/schema";

/** What differs between Node and a browser. `#platform` is the module that fits, by the conditions in package.json. */
export interface Platform {
  /** Versions of packages and runtime, for records. */
  describeRuntime(): Pick<RunEnvironment, "packages" | "runtime" | "platform">;
  /** Where the files of data sets are read from unless somebody says otherwise. */
  defaultFiles(): FileReader;
  /** A document to draw figures into. */
  createDocument(): Document;
}
