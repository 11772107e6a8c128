import { cocobRecord } from "./cocob";
import { dAdaptAdamRecord, dAdaptSgdRecord } from "./d-adaptation";
import { dogRecord, dowgRecord, ldogRecord } from "./dog";
import { momoAdamRecord, momoRecord, polyakRecord } from "./polyak";
import { prodigyRecord } from "./prodigy";
import { scheduleFreeAdamwRecord, scheduleFreeSgdRecord } from "./schedule-free";
import { mechanicAdamwRecord, mechanicMomentumRecord } from "./wrapped";

/** Methods that need no learning rate, or no schedule, or neither. */
export const rateFreeRecords = [
  scheduleFreeSgdRecord,
  scheduleFreeAdamwRecord,
  prodigyRecord,
  dAdaptAdamRecord,
  dAdaptSgdRecord,
  dogRecord,
  ldogRecord,
  dowgRecord,
  polyakRecord,
  momoRecord,
  momoAdamRecord,
  mechanicMomentumRecord,
  mechanicAdamwRecord,
  cocobRecord,
] as const;
