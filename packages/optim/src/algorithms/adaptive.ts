import { adabeliefRecord } from "./adabelief";
import { adaboundRecord, amsboundRecord } from "./adabound";
import { adadeltaRecord } from "./adadelta";
import { adagradRecord } from "./adagrad";
import { adamRecord, adamwRecord, amsgradRecord } from "./adam";
import { adamaxRecord } from "./adamax";
import { adanRecord } from "./adan";
import { ademamixRecord } from "./ademamix";
import { adoptRecord } from "./adopt";
import { nadamRecord, nadamwRecord } from "./nadam";
import { radamRecord } from "./radam";
import { rmspropRecord } from "./rmsprop";
import { yogiRecord } from "./yogi";

/** Methods with a rate for every weight, from the sizes of its gradients. */
export const adaptiveRecords = [
  adagradRecord,
  adadeltaRecord,
  rmspropRecord,
  adamRecord,
  adamwRecord,
  amsgradRecord,
  adamaxRecord,
  nadamRecord,
  nadamwRecord,
  radamRecord,
  adabeliefRecord,
  adaboundRecord,
  amsboundRecord,
  yogiRecord,
  adanRecord,
  ademamixRecord,
  adoptRecord,
] as const;
