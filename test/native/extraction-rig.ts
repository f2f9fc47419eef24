// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { expect } from 'vitest';
import { extractFlags, type Plan } from '../../src/format/plan.ts';
import { type Ran, type Running, start } from '../support/run.ts';
import { freshUser, makeDir, type User } from '../support/session.ts';
import { untilAllEnded } from '../support/snapshot.ts';
import { type Image, type PlanOptions, planFor, planRun, runPlan, type Shape, startPlan } from './plan-rig.ts';

/** A user of the test's own and a directory of his in which images are unpacked. */
export class Site {
  readonly user: User = freshUser();
  readonly place: string = makeDir(this.user, 'place');

  /** A plan that unpacks the image here, quietly unless the shape has other flags. */
  plan(image: Image, shape: Partial<Shape> = {}): Plan {
    const { user, place } = this;
    return planFor(image, { user, driver: 'extract', place, flags: extractFlags.quiet, ...shape });
  }

  run(image: Image, shape: Partial<Shape> = {}, options: PlanOptions = {}): Promise<Ran> {
    return runPlan(this.plan(image, shape), { user: this.user, ...options });
  }

  start(image: Image, shape: Partial<Shape> = {}, options: PlanOptions = {}): Running {
    return startPlan(this.plan(image, shape), { user: this.user, ...options });
  }

  /** Starts a shell script whose first word is `up`, and waits for it. */
  async startUp(image: Image, rest: string, shape: Partial<Shape> = {}): Promise<Running> {
    const running = this.start(image, { ...shape, command: ['sh', '-c', `echo up; ${rest}`] });
    await running.see(/up/);
    return running;
  }

  /** A run of which everything was killed at once, so that nobody could clear up. */
  async leaveKilled(image: Image, shape: Partial<Shape> = {}): Promise<void> {
    const running = await this.startUp(image, 'sleep 100', shape);
    this.killAll();
    await running.end();
    await untilAllEnded(this.user);
  }

  /** Kills every process of the user in one system call, as a batch system does. */
  killAll(): void {
    const { uid } = this.user;
    const drop = [`--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', '--'];
    try {
      execFileSync('setpriv', [...drop, 'bash', '-c', 'kill -9 -1'], { stdio: 'ignore' });
    } catch {
      // the shell is among them
    }
  }

  sweep(): Promise<Ran> {
    return start([planRun(), '--sweep', this.place], { user: this.user }).end();
  }

  names(): string[] {
    return readdirSync(this.place).sort();
  }

  /** When every process of the user has ended, these names are in the place and no others. */
  async endsWith(...names: string[]): Promise<void> {
    await untilAllEnded(this.user);
    expect(this.names()).toEqual(names);
  }
}
