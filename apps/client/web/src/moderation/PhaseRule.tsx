import { Choice, Mistake, NumberInput } from './Controls'
import styles from './PolicyView.module.css'
import type { Phase } from './rules'

interface Props {
  phase: Phase
  /** The texts of its fields, or undefined while it is off. */
  values: Record<string, string> | undefined
  onChange: (values: Record<string, string> | undefined) => void
  mistakes: ReadonlyMap<string, string>
}

/** A phase that is on or off. */
export function PhaseRule({ phase, values, onChange, mistakes }: Props) {
  return (
    <fieldset className={styles.phase}>
      <legend>
        <label>
          <input type="checkbox" checked={values !== undefined} onChange={(event) => onChange(event.target.checked ? phase.first : undefined)} /> {phase.title}
        </label>
      </legend>
      <Mistake text={mistakes.get(phase.name)} />
      {values && (
        <div className={styles.fields}>
          {phase.fields.map((field) => {
            const common = {
              value: values[field.name] ?? '',
              onChange: (value: string) => onChange({ ...values, [field.name]: value }),
              mistake: mistakes.get(`${phase.name}.${field.name}`),
            }
            return field.kind === 'number' ? <NumberInput key={field.name} field={field} {...common} /> : <Choice key={field.name} field={field} {...common} />
          })}
        </div>
      )}
    </fieldset>
  )
}
