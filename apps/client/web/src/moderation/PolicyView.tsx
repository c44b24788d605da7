import { Button } from '@base-ui/react/button'
import { Refusal } from '../people/Refusal'
import { Reading } from '../ui/Reading'
import { Trouble } from '../ui/Trouble'
import { Apply } from './Apply'
import { hasPlace, withPhase } from './draft'
import { PhaseRule } from './PhaseRule'
import styles from './PolicyView.module.css'
import { phases } from './rules'
import { TryOut } from './TryOut'
import { usePolicy, versionOf } from './usePolicy'
import { WordRules } from './WordRules'

/** The policy: an editor, a box to try it out, and a way to apply it to what is held. */
export function PolicyView() {
  const policy = usePolicy()
  const { query, draft, stands, edit } = policy
  return (
    <section aria-labelledby="policy-heading">
      <h2 id="policy-heading">{stands ? `The policy, version ${versionOf(stands.etag)}` : 'The policy'}</h2>
      <p className={styles.quiet}>The first of these that says something of a comment decides. A comment of which none does is approved.</p>
      <Reading query={query} what="the policy" />
      {draft && (
        <>
          <form
            className={styles.form}
            noValidate
            onSubmit={(event) => {
              event.preventDefault()
              policy.save()
              focusOnMistake(event.currentTarget)
            }}
          >
            <WordRules words={draft.words} onChange={(words) => edit({ ...draft, words })} mistakes={policy.mistakes} />
            {phases.map((phase) => (
              <PhaseRule
                key={phase.name}
                phase={phase}
                values={draft.phases[phase.name]}
                onChange={(values) => edit(withPhase(draft, phase.name, values))}
                mistakes={policy.mistakes}
              />
            ))}
            <Save {...policy} />
          </form>
          <TryOut draft={draft} />
          <Apply isEdited={policy.isEdited} />
        </>
      )}
    </section>
  )
}

/** The end of the form: what went wrong, and the buttons. */
function Save({ saving, draft, stands, isEdited, isConflict, save, discard }: ReturnType<typeof usePolicy>) {
  const problem = saving.error
  return (
    <div className={styles.save}>
      {isConflict && stands && (
        <Trouble>
          The policy was changed meanwhile: its version is {versionOf(stands.etag)}. Your edits are kept, and not saved. This is what stands now:
          <code className={styles.stands}>{JSON.stringify(stands.rules)}</code>
          <Button className="button" onClick={() => save(stands.etag)}>
            Save mine over it
          </Button>
        </Trouble>
      )}
      {problem && !isConflict && !(draft && hasPlace(draft, problem.field)) && (
        <Trouble>
          <Refusal problem={problem} command="moderate" />
        </Trouble>
      )}
      <div className={styles.buttons}>
        <Button type="submit" className="button primary" disabled={saving.isPending || !isEdited || isConflict} focusableWhenDisabled>
          {saving.isPending ? 'Saving…' : 'Save the policy'}
        </Button>
        {isEdited && (
          <Button className="button" onClick={discard}>
            Discard my edits
          </Button>
        )}
        {saving.data && !isEdited && <p role="status">Saved.</p>}
      </div>
    </div>
  )
}

/** Moves the focus to the first mistake, once it is shown. */
function focusOnMistake(form: HTMLFormElement): void {
  requestAnimationFrame(() => form.querySelector<HTMLElement>('[aria-invalid]')?.focus())
}
