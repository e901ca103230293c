/** A path of Nomad's API without the names in it: what is no word of the API becomes `:id`. Pure. */

const words = `v1 ui .well-known jwks.json
  jobs job parse statuses evaluate allocations evaluations periodic force plan summary dispatch versions revert deployments
  deployment stable scale services submission actions action tag
  nodes node drain eligibility purge pools pool allocation stop checks count evaluation fail pause promote unblock
  allocation-health service volumes volume csi host create register delete detach snapshot snapshots external claims claim
  plugins plugin acl policies policy tokens token bootstrap self onetime exchange roles role auth-methods auth-method
  binding-rules binding-rule oidc auth-url complete-auth login client fs ls stat cat readat stream logs exec stats restart
  signal gc metadata identity renew intro agent join members force-leave servers keyring keys key rotate health monitor
  export pprof profile trace cmdline search fuzzy metrics validate regions status leader peers operator raft configuration
  peer transfer-leadership autopilot scheduler license utilization upgrade-check system reconcile summaries scaling vars var
  namespaces namespace quotas quota quota-usages usage sentinel recommendations recommendation apply event`;

const known: ReadonlySet<string> = new Set(words.split(/\s+/));
const maxSegments = 16;

const segmentOf = (segment: string): string =>
  segment === "" || known.has(segment) ? segment : ":id";

export const pathTemplate = (path: string): string => {
  const segments = path.split("/", maxSegments + 1);
  const shown = segments.slice(0, maxSegments).map(segmentOf).join("/");
  return segments.length > maxSegments ? `${shown}/*` : shown;
};
