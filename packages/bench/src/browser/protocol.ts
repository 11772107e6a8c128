import type { ClassReport, Device, DeviceOptions, ProfileRow } from "@thalweg/tensor";
import type { RaceOptions } from "../race";
import type { RunConfiguration } from "../records/schema";
import type { AlgorithmRequest } from "../run/configuration";
import type { ProfileOptions, StepProfile } from "../run/profile";
import type { RunProgress } from "../run/train";

// What Node and the page that trains say to each other. Everything here is plain data: it is copied from one to the other.

/** The device that the page opens. */
export type DeviceRequest = Pick<DeviceOptions, "adapter" | "limits" | "tune">;

/** A race to be run in the page. */
export interface RaceRequest
  extends Omit<
    RaceOptions,
    | "workload"
    | "algorithms"
    | "store"
    | "files"
    | "openDevice"
    | "onStart"
    | "onProgress"
    | "onRun"
    | "signal"
    | "hold"
    | "inspect"
  > {
  /** Name of a workload: code does not go to the page. */
  readonly workload: string;
  readonly algorithms: readonly AlgorithmRequest[];
  readonly device: DeviceRequest;
}

/** What is left to say when a race is over; its records have gone to Node line by line. */
export interface RaceAnswer {
  readonly interrupted: boolean;
  readonly tuning: readonly ClassReport[];
}

/** A profile to be taken in the page. */
export interface ProfileRequest extends Omit<ProfileOptions, "workload" | "files" | "openDevice"> {
  readonly workload: string;
  readonly device: DeviceRequest;
}

/** A profile with what was measured to choose variants of kernels. */
export interface ProfileAnswer {
  readonly profile: StepProfile;
  readonly rows: readonly ProfileRow[];
  readonly tuning: readonly ClassReport[];
}

/** A device as `thalweg devices` shows it. */
export interface DeviceDescription extends Pick<Device, "adapter" | "limits"> {
  readonly features: readonly string[];
}

/** What the page does for Node, found there as `globalThis.thalwegRunner`. */
export interface Runner {
  race(request: RaceRequest): Promise<Answer<RaceAnswer>>;
  profile(request: ProfileRequest): Promise<Answer<ProfileAnswer>>;
  device(request: DeviceRequest): Promise<Answer<DeviceDescription>>;
  /** Ends what is going on as Ctrl-C does in Node: the race that it was asked for answers soon. */
  stop(): void;
}

/** A result, or an error as plain data. */
export type Answer<T> = { readonly value: T } | { readonly error: ErrorDescription };

/** What is left of an error on its way to Node. */
export interface ErrorDescription {
  /** The code of a ThalwegError; undefined for an error of any other kind, which is a defect. */
  readonly code: string | undefined;
  readonly message: string;
  readonly stack: string | undefined;
}

/** What the page tells Node while it works. */
export type RunnerEvent =
  | { readonly type: "notice"; readonly text: string }
  | { readonly type: "start" }
  | { readonly type: "progress"; readonly progress: RunProgress }
  /** A run is over; `path` is what its place in Node's store calls the record. */
  | { readonly type: "run"; readonly path: string };

/** A place for a run in Node's store: the methods of `StoredRun` are at the address `runs/<id>/<method>`. */
export interface OpenedRun {
  readonly id: number;
  readonly path: string;
  readonly checkpoint: string;
}

/** What Node offers to the page as global functions. Their arguments may hold any number, NaN and infinities too. */
export interface RunnerHost {
  thalwegEvent(event: RunnerEvent): Promise<void>;
  thalwegOpenRun(configuration: RunConfiguration): Promise<OpenedRun>;
}

/** The name of the header in which Node says where on its disk a data file lies, URI-encoded. */
export const pathHeader = "thalweg-path";
