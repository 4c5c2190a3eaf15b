/**
 * The real servers that the tests and the sandbox run, pinned. One row each; the Go modules beside this file pin the
 * same versions down to every dependency, by checksum.
 */
export type ToolName = 'kube-apiserver' | 'kubectl' | 'etcd' | 'minio' | 'moto-python' | 'faultydisk' | 'gitops';

export interface GoTool {
  readonly kind: 'go';
  /** The folder under `tools/` whose go.mod pins it, and the first part of its directory in the cache. */
  readonly module: 'kubernetes' | 'etcd' | 'minio' | 'faultydisk' | 'gitops';
  /** `ours`: the folder is its source too, and the hash of that is the version. */
  readonly version: string;
  readonly package: string;
  readonly ldflags: string;
  /** Whether it is one of envtest's assets, which `KUBEBUILDER_ASSETS` may hold. */
  readonly envtestAsset: boolean;
  /** Measured on two cores with nothing cached, for the wait to be bearable. */
  readonly usuallySeconds: number;
}

export interface VenvTool {
  readonly kind: 'venv';
  /** Under `tools/`; its hash is the version. */
  readonly requirements: string;
  /** What the wheels in it were built for. */
  readonly python: string;
  readonly usuallySeconds: number;
}

const STRIP = '-s -w';
/** Without these a built API server calls itself v0.0.0-master, and CRDs that ask for a version are refused. */
const KUBERNETES = [
  STRIP,
  '-X k8s.io/component-base/version.gitVersion=v1.34.4',
  '-X k8s.io/component-base/version.gitMajor=1',
  '-X k8s.io/component-base/version.gitMinor=34',
].join(' ');

export const TOOLS = {
  'kube-apiserver': {
    kind: 'go',
    module: 'kubernetes',
    version: 'v1.34.4',
    package: 'k8s.io/kubernetes/cmd/kube-apiserver',
    ldflags: KUBERNETES,
    envtestAsset: true,
    usuallySeconds: 330,
  },
  kubectl: {
    kind: 'go',
    module: 'kubernetes',
    version: 'v1.34.4',
    package: 'k8s.io/kubernetes/cmd/kubectl',
    ldflags: KUBERNETES,
    envtestAsset: true,
    usuallySeconds: 120,
  },
  etcd: {
    kind: 'go',
    module: 'etcd',
    version: 'v3.6.16',
    package: 'go.etcd.io/etcd/server/v3',
    ldflags: STRIP,
    envtestAsset: true,
    usuallySeconds: 45,
  },
  minio: {
    kind: 'go',
    module: 'minio',
    // The last source of an archived project: it has a date and no version.
    version: '20260212',
    package: 'github.com/minio/minio',
    ldflags: STRIP,
    envtestAsset: false,
    usuallySeconds: 190,
  },
  faultydisk: {
    kind: 'go',
    module: 'faultydisk',
    version: 'ours',
    package: '.',
    ldflags: STRIP,
    envtestAsset: false,
    usuallySeconds: 10,
  },
  gitops: {
    kind: 'go',
    module: 'gitops',
    version: 'ours',
    package: '.',
    ldflags: STRIP,
    envtestAsset: false,
    usuallySeconds: 30,
  },
  'moto-python': {
    kind: 'venv',
    requirements: 'moto/requirements.txt',
    python: '3.11',
    usuallySeconds: 20,
  },
} as const satisfies Record<ToolName, GoTool | VenvTool>;

export const TOOL_NAMES = Object.keys(TOOLS) as ToolName[]; // Object.keys widens; the record above has these keys alone
