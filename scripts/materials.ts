/** The package's bill of materials: CycloneDX, by `npm sbom` of the lock file. */
interface Dependency {
  readonly ref: string;
  readonly dependsOn: readonly string[];
}

interface Bill {
  readonly metadata: { readonly component: { readonly "bom-ref": string; readonly name: string } };
  readonly components: readonly { readonly "bom-ref": string; readonly name: string }[];
  readonly dependencies: readonly Dependency[];
}

/**
 * What these packages need and no more, said by `npm sbom` of a whole project. Its own `--omit dev` forgets what is needed for
 * development too, and it calls a project as its directory is called.
 */
export const billOf = (all: string, project: string, packages: readonly string[]): object => {
  const bill: Bill = JSON.parse(all);
  const { component } = bill.metadata;
  const names = new Map(bill.components.map((one) => [one["bom-ref"], one.name]));
  const needed = new Map<string, Dependency>();
  const take = (ref: string): void => {
    if (needed.has(ref)) return;
    const own = bill.dependencies.find((one) => one.ref === ref)?.dependsOn ?? [];
    const isRoot = ref === component["bom-ref"];
    const dependsOn = own.filter((one) => !isRoot || packages.includes(names.get(one) ?? ""));
    needed.set(ref, { ref, dependsOn });
    for (const one of dependsOn) take(one);
  };
  take(component["bom-ref"]);
  return {
    ...bill,
    metadata: { ...bill.metadata, component: { ...component, name: project } },
    components: bill.components.filter((one) => needed.has(one["bom-ref"])),
    dependencies: [...needed.values()],
  };
};
