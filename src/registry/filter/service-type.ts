/** Nomad's ServiceRegistration, for filters. */
import { int, list, string, struct, uint64 } from "./types.ts";

export const serviceType = struct(
  ["ID ServiceName Namespace NodeID Datacenter JobID AllocID Address", string],
  ["Tags", list(string)],
  ["Port", int],
  ["CreateIndex ModifyIndex", uint64],
);
