// The part of the package that needs a disk: import it as "@thalweg/workloads/node".
export { cacheFolder, type Environment, localFolder } from "./fetch/cache.node.js";
export {
  type CheckedFile,
  checkDataset,
  type FetchedFile,
  type FetchOptions,
  fetchDataset,
} from "./fetch/dataset.node.js";
export { type DownloadOptions, type DownloadProgress, downloadFile, hashFile } from "./fetch/download.node.js";
export { findFile, type LocalFilesOptions, localFiles } from "./fetch/local.node.js";
