import { Button } from '@base-ui/react/button'
import styles from './Keys.module.css'
import { shortcuts } from './shortcuts'

interface Props {
  isShown: boolean
  onShow: (isShown: boolean) => void
  isOn: boolean
  onSwitch: (isOn: boolean) => void
}

/** The names of keys whose own are for programs. */
const names: Partial<Record<string, string>> = { ArrowDown: '↓', ArrowUp: '↑' }

/** The keys, behind a button. They can be switched off. */
export function Keys({ isShown, onShow, isOn, onSwitch }: Props) {
  return (
    <>
      <Button className={styles.button} aria-expanded={isShown} aria-controls="keys" onClick={() => onShow(!isShown)}>
        Keys
      </Button>
      <div id="keys" className={styles.keys} hidden={!isShown}>
        <dl>
          {shortcuts.map(({ shortcut, keys, does }) => (
            <div key={shortcut}>
              <dt>
                {keys.map((key) => (
                  <kbd key={key}>{names[key] ?? key}</kbd>
                ))}
              </dt>
              <dd>{does}</dd>
            </div>
          ))}
        </dl>
        <label>
          <input type="checkbox" checked={isOn} onChange={(event) => onSwitch(event.target.checked)} /> Use these keys
        </label>
      </div>
    </>
  )
}
