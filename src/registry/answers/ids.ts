/** Ids and prefixes as Nomad's index reads them: in any case, hyphens anywhere. */
import { failed } from "../../errors.ts";
import { canonicalUuid, prefixFault, uuidFault } from "../../lib/uuid.ts";

/** The id to look up; Nomad's 500 when its index would refuse it. `what` is the words before `index error`. */
export const lookupId = (what: string, id: string): string => {
  const fault = uuidFault(id);
  if (fault !== undefined) throw failed(`${what} lookup failed: index error: ${fault}`);
  return canonicalUuid(id);
};

/** Whether an id begins with what was asked for; Nomad's 500 for a prefix that its index would refuse. */
export const prefixTest = (what: string, prefix: string): ((id: string) => boolean) => {
  const fault = prefixFault(prefix);
  if (fault !== undefined) throw failed(`${what} lookup failed: index error: ${fault}`);
  const wanted = prefix.replaceAll("-", "").toLowerCase();
  return (id) => id.replaceAll("-", "").startsWith(wanted);
};
