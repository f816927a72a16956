/** The region of `packrat serve`: created if there is none, and not left behind by a start that failed. Called by: serve.ts. */
import { unlinkSync } from 'node:fs'
import { RegionError } from '../storage/errors.ts'
import { type CreateOptions, type OpenOptions, Region } from '../storage/region.ts'

export class ServedRegion {
  readonly region: Region
  private readonly path: string
  /** Created here, and empty: nobody was promised anything yet. */
  private isNew = false

  /** @param creation of a region that does not exist yet. @throws RegionError */
  constructor(path: string, options: OpenOptions, creation: CreateOptions) {
    this.path = path
    this.region = this.open(options, creation)
  }

  /** From now on it may hold what was acknowledged. */
  keep(): void {
    this.isNew = false
  }

  /**
   * A start that failed must not leave a file, often a large one, whose --pm-size and --pm-lines the next start would take
   * as they are. It goes before the lock does: nobody else can have begun to use it.
   */
  close(cleanVersion: number | undefined): void {
    if (this.isNew) unlinkSync(this.path)
    this.region.close(cleanVersion)
  }

  private open(options: OpenOptions, creation: CreateOptions): Region {
    try {
      return new Region(this.path, options)
    } catch (error) {
      if (!isRegionError(error, 'ENOENT')) throw error
    }
    Region.create(this.path, creation)
    this.isNew = true
    try {
      return new Region(this.path, options)
    } catch (error) {
      if (!isRegionError(error, 'ELOCKED')) unlinkSync(this.path)
      throw error
    }
  }
}

const isRegionError = (error: unknown, code: string): boolean => error instanceof RegionError && error.code === code
