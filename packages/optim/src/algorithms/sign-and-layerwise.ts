import { adafactorRecord } from "./adafactor";
import { lambRecord } from "./lamb";
import { larsRecord } from "./lars";
import { lionRecord } from "./lion";
import { madgradRecord } from "./madgrad";
import { novogradRecord } from "./novograd";
import { rpropRecord } from "./rprop";
import { signSgdRecord, signumRecord } from "./signum";
import { sm3Record } from "./sm3";
import { sophiaRecord } from "./sophia";

/** Methods that look at signs. */
export const signRecords = [rpropRecord, signSgdRecord, signumRecord, lionRecord] as const;

/** Methods that scale whole tensors, or keep less than a buffer for each. */
export const layerwiseRecords = [larsRecord, lambRecord, novogradRecord, adafactorRecord, sm3Record] as const;

/** Adaptive methods of other kinds than Adam's. */
export const furtherAdaptiveRecords = [madgradRecord, sophiaRecord] as const;
