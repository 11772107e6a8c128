import { ekfacRecord, kfacRecord, kfacReduceRecord } from "./kfac";
import { lbfgsRecord } from "./lbfgs";
import { muonRecord } from "./muon";
import { shampooRecord } from "./shampoo";
import { singdRecord } from "./singd";
import { soapRecord } from "./soap";

/** Methods whose updates mix the elements of a tensor. */
export const nonDiagonalRecords = [
  shampooRecord,
  soapRecord,
  muonRecord,
  lbfgsRecord,
  kfacRecord,
  kfacReduceRecord,
  ekfacRecord,
  singdRecord,
] as const;
