import { lbfgsRecord } from "./lbfgs";
import { muonRecord } from "./muon";
import { shampooRecord } from "./shampoo";
import { soapRecord } from "./soap";

/** Methods whose updates mix the elements of a tensor. */
export const nonDiagonalRecords = [shampooRecord, soapRecord, muonRecord, lbfgsRecord] as const;
